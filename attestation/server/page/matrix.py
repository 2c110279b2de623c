# SPDX-License-Identifier: Apache-2.0
"""What frameworks ask of audit records, what the log answers, and what a log cannot prove. Texts, nothing read."""

from typing import Final

from attestation.server.page.html import Markup, join, tag
from attestation.server.page.pieces import BUNDLE, table

CONTROLS: Final = (
    ("SOC 2 CC6.1", "access to confidential evidence", "every reading is an entry before it happens", "access"),
    ("SOC 2 CC7.2, PI1", "complete and unaltered population", "size between two cosigned checkpoints", "population"),
    ("SOC 2 CC7.3", "refusals and withdrawals are looked into", "each is an entry with its reasons", "refusals"),
    ("SOC 2 CC8.1", "changes are approved", "policies and accounts are entries with pseudonyms", "changes"),
    ("ISO 27001 A.8.15", "logs are protected, from administrators too", "append-only tree, outside witnesses", "check"),
    ("ISO 27001 A.8.17", "clocks", "cosignatures bound the time of each entry", "when 0"),
    ("ISO 27001 A.8.24", "keys are managed", "each key is an entry, from when to when", "keys"),
    ("ISO 27001 A.5.28", "evidence is collected and kept", "evidence by digest, judged anew at its time", "fsck"),
    ("HIPAA 164.312(b), (c)(1)", "activity is recorded and unaltered", "every stored byte is hashed again", "fsck"),
    ("GDPR 5(1)(c), 25", "no personal data on an append-only medium", "every entry is scanned", "privacy"),
    ("EU AI Act 12, 19, 26(6)", "events are recorded over the lifetime", "verdicts; use stands in receipts", "gaps"),
    ("PCI DSS 10", "failure of logging is noticed", "longest time between entries", "uptime"),
)

LIMITS: Final = (
    "A log proves what was logged. It says nothing about what never was.",
    "A verdict is as good as the vendor of the hardware: no TEE resists every physical attack.",
    "Without a quorum of witnesses the operator can show each reader another history; readers who compare find out.",
    "Compare yours with somebody else's: sealbid audit compare mine.note theirs.note --trust trust.toml",
    "Times in entries are the operator's clock. Only cosignatures and time anchors are others' clocks.",
    "This page and the script that verifies in your browser come from the operator: they find damage and mistakes.",
    "Against an operator who lies use the commands on your own machine, with keys you got elsewhere.",
    "Verification in the browser needs HTTPS or localhost, and a browser that knows Ed25519.",
)


def controls() -> Markup:
    """The matrix; each cell's command answers it from the log, on the auditor's machine."""
    rows = [
        tag(
            "tr",
            tag("th", framework, scope="row"),
            tag("td", ask),
            tag("td", answer),
            tag("td", tag("code", f"sealbid audit {verb}")),
        )
        for framework, ask, answer, verb in CONTROLS
    ]
    heads = ("Control", "Asks", "Where the log answers", "Command")
    note = (
        f"Each command takes {BUNDLE}; sealbid audit export makes the bundle. "
        "This table says where to look; the command says yes or no."
    )
    return join(table("Controls and where the log answers them", heads, rows, empty=""), tag("p", note))


def limits() -> Markup:
    """What this page and the log behind it cannot show."""
    return tag("ul", [tag("li", text) for text in LIMITS])
