# SPDX-License-Identifier: Apache-2.0
"""What frameworks ask of audit records, what the log answers, and what a log cannot prove. Texts, nothing read."""

from typing import Final

from attestation.server.page.html import Markup, join, tag
from attestation.server.page.pieces import table

CONTROLS: Final = (
    (
        "SOC 2 CC7.2, PI1",
        "complete and unaltered population of a period",
        "size between two cosigned checkpoints",
        "population --from DATE --to DATE",
    ),
    ("SOC 2 CC8.1", "changes are approved", "policies, verifiers and accounts are entries with pseudonyms", "changes"),
    ("SOC 2 CC6.1", "access to confidential evidence", "every reading is an entry before it happens", "access"),
    ("ISO 27001 A.8.15", "logs are protected, from administrators too", "append-only tree, outside witnesses", "check"),
    ("ISO 27001 A.8.17", "clocks", "cosignature times and time anchors bound each entry", "when INDEX"),
    ("ISO 27001 A.8.24", "keys are managed", "each key is an entry, with the index it holds from", "keys"),
    (
        "HIPAA 164.312(b), 164.316(b)(2)",
        "activity is recorded, examined, kept six years",
        "entries of examinations; retention by shard",
        "retention",
    ),
    (
        "GDPR 5(1)(c), 25",
        "no personal data on an append-only medium",
        "salted commitments; entries are scanned",
        "privacy",
    ),
    ("GDPR 17", "erasure", "the salt is destroyed, the log stays as it is", "erasure"),
    (
        "EU AI Act 12, 19, 26(6)",
        "events are recorded over the lifetime",
        "verdicts here, use in receipts",
        "report --framework aiact",
    ),
    ("PCI DSS 10", "failure of logging is noticed", "longest time between checkpoints", "uptime"),
)

LIMITS: Final = (
    "A log proves what was logged. It says nothing about what never was.",
    "A verdict is as good as the vendor of the hardware: no TEE resists every physical attack.",
    "Without a quorum of witnesses the operator can show each reader another history; readers who compare find out.",
    "Compare yours with somebody else's: sealbid audit compare A.checkpoint B.checkpoint",
    "Times in entries are the operator's clock. Only cosignatures and time anchors are others' clocks.",
    "This page and the script that verifies in your browser come from the operator: they find damage and mistakes.",
    "Against an operator who lies use the commands on your own machine, with keys you got elsewhere.",
    "Verification in the browser needs HTTPS or localhost, and a browser that knows Ed25519.",
)


def controls(origin: str) -> Markup:
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
        f"Each command takes --log https://{origin} --trust trust.toml, or --bundle FILE. "
        "This table says where to look; the command says yes or no."
    )
    return join(table("Controls and where the log answers them", heads, rows, empty=""), tag("p", note))


def limits() -> Markup:
    """What this page and the log behind it cannot show."""
    return tag("ul", [tag("li", text) for text in LIMITS])
