# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit privacy`: does any entry hold personal data or the identity of a machine?

Every entry keeps to its kind's table, which has no field for either (checked when the bundle was opened); this looks
into the texts that people write. Yes (none does) when no text holds an e-mail address, an IP address, a telephone
number or a UUID; no where one does. A name in plain words it cannot know.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.reply import Reply, Table, of_bad
from attestation.tlog.entry import JSON

_PATTERNS: Final = (
    ("e-mail address", re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}\.[A-Za-z0-9.-]{2,}")),
    ("ip address", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")),
    ("ip address", re.compile(r"(?<![0-9a-f:])(?:[0-9a-f]{1,4}:){4,7}[0-9a-f]{1,4}(?![0-9a-f:])", re.IGNORECASE)),
    ("telephone number", re.compile(r"(?<![\w.])\+\d{2,3}[ \d-]{7,15}(?!\w)")),
    ("uuid", re.compile(r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)),
)
_NOT_WRITTEN_BY_PEOPLE: Final = frozenset({"claims", "log_key", "text"})
"""What verifiers state under names that the table allows, a key in base64, and policies: published rules."""
_UNPROVEN = ("that no text names a person in plain words",)


def privacy(bundle: VerifiedBundle) -> Reply:
    """The answer. What was found is named by entry and field, and not repeated."""
    table = Table(("entry", "kind", "field", "found"))
    for logged in bundle.view.of():
        for field, text in _texts(logged.entry.body, ""):
            for found, pattern in _PATTERNS:
                if pattern.search(text):
                    table.add(logged.index, logged.entry.kind.value, field, found)
    answer, because = of_bad(
        table.count,
        none=f"{bundle.view.size} entries, and no text holds what identifies a person or machine",
        some="texts hold what may identify a person or machine",
    )
    return Reply(question="privacy", answer=answer, because=because, table=table, unproven=_UNPROVEN)


def _texts(value: JSON, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _NOT_WRITTEN_BY_PEOPLE:
                yield from _texts(item, f"{name}.{key}" if name else key)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item, name)
