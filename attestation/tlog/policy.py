# SPDX-License-Identifier: Apache-2.0
"""Witness policies: whose signatures a checkpoint needs besides the log's own (C2SP tlog-policy).

    policy  = "none" | *line                                   "none" alone is short for a file with `quorum none`
    line    = [ws] [log | witness | group | quorum | "#" text] [ws] "\\n"
    log     = "log" ws vkey [ws url]                           type 0x01 or 0x06; its name is the log's origin
    witness = "witness" ws name ws vkey [ws url]               type 0x04 or 0x06
    group   = "group" ws name ws ("all" | "any" | k) 1*(ws name)
    quorum  = "quorum" ws (name | "none")                      exactly once
    ws      = 1*(space | tab)

Names are octets without meaning outside the file; bytes that are no UTF-8 stand as surrogate escapes. A line may name
only what stands before it, so no group contains itself, and no name is a member twice, so no witness counts twice.

Refused, each with its own `Fault`: control characters other than tab and newline, a last line without newline, unknown
keywords, keys of another type, one key under two names, one name for two things, a name not defined before, `none` as a
name or a member, a threshold outside 1 to n, no quorum or two, and more of anything than the limits below.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from attestation.tlog.cosignature import CosignatureVerifier, parse_note_key
from attestation.tlog.faults import Fault, MalformedLog
from attestation.tlog.note import ED25519_COSIGNATURE, NoteVerifier
from attestation.tlog.quorum import (
    CLOCK_SKEW_SECONDS,
    NONE,
    Cosignature,
    Group,
    ListedLog,
    Witness,
    Witnessed,
    WitnessPolicy,
    shown,
    witnessed,
)

__all__ = [
    "CLOCK_SKEW_SECONDS",
    "MAX_POLICY_BYTES",
    "NO_WITNESSES",
    "Cosignature",
    "Group",
    "ListedLog",
    "Witness",
    "WitnessPolicy",
    "Witnessed",
    "parse_witness_policy",
    "witnessed",
]

MAX_POLICY_BYTES: Final = 256 << 10
MAX_LOGS: Final = 64
MAX_WITNESSES: Final = 64
MAX_GROUPS: Final = 64
NO_WITNESSES: Final = WitnessPolicy(text=NONE)
_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_BLANKS: Final = re.compile(r"[ \t]+")
_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,3}")


def parse_witness_policy(text: str | bytes) -> WitnessPolicy:
    """The policy of `none` or of a whole policy file.

    Raises:
        MalformedEvidence: with the `Fault` of the first line at fault; UNSUPPORTED for a key of an unknown type.
    """
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    if data == NONE.encode():
        return NO_WITNESSES
    if len(data) > MAX_POLICY_BYTES:
        raise MalformedLog(Fault.POLICY_SIZE, f"policy has {len(data)} bytes, want at most {MAX_POLICY_BYTES}")
    if control := _FORBIDDEN.search(data):
        message = f"policy has control character {control[0][0]:#04x}, want none but tab and newline"
        raise MalformedLog(Fault.POLICY_CONTROL_CHARACTER, message)
    if data and not data.endswith(b"\n"):
        raise MalformedLog(Fault.POLICY_LAST_LINE, "policy's last line does not end in newline")
    reading = _Reading()
    source = data.decode("utf-8", "surrogateescape")
    for number, line in enumerate(source.split("\n"), 1):
        items = [item for item in _BLANKS.split(line) if item]
        if items and not items[0].startswith("#"):
            reading.take(number, items)
    return reading.finished(source)


@dataclass(slots=True)
class _Reading:
    """What the lines so far have defined."""

    logs: list[ListedLog] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str | None = None
    names: set[str] = field(default_factory=lambda: {NONE})
    members: set[str] = field(default_factory=set)
    line: int = 0

    def take(self, number: int, items: list[str]) -> None:
        self.line = number
        match items[0]:
            case "log":
                self._log(items[1:])
            case "witness":
                self._witness(items[1:])
            case "group":
                self._group(items[1:])
            case "quorum":
                self._quorum(items[1:])
            case other:
                raise self._fault(
                    Fault.POLICY_KEYWORD, f"keyword is {shown(other[:32])}, want log, witness, group or quorum"
                )

    def finished(self, text: str) -> WitnessPolicy:
        if self.quorum is None:
            raise MalformedLog(Fault.POLICY_QUORUM_MISSING, "policy has no quorum line, want one")
        return WitnessPolicy(
            text=text,
            logs=tuple(self.logs),
            witnesses=tuple(self.witnesses),
            groups=tuple(self.groups),
            name=self.quorum,
        )

    def _log(self, items: list[str]) -> None:
        if not 1 <= len(items) <= 2:
            raise self._fault(Fault.POLICY_LOG_LINE, f"log has {len(items)} items, want a key and at most an url")
        key = parse_note_key(items[0])
        if isinstance(key, CosignatureVerifier) and key.key_type == ED25519_COSIGNATURE:
            raise self._fault(Fault.POLICY_LOG_KEY_TYPE, "log key is a witness's of type 0x04, want 0x01 or 0x06")
        if any(log.key.public_key == key.public_key for log in self.logs):
            raise self._fault(Fault.POLICY_LOG_TWICE, "log key stands on an earlier line")
        self._want_room(len(self.logs), MAX_LOGS, "logs")
        self.logs.append(ListedLog(key=key, url=items[1] if len(items) == 2 else ""))

    def _witness(self, items: list[str]) -> None:
        if not 2 <= len(items) <= 3:
            message = f"witness has {len(items)} items, want a name, a key and at most an url"
            raise self._fault(Fault.POLICY_WITNESS_LINE, message)
        key = parse_note_key(items[1])
        if isinstance(key, NoteVerifier) or not isinstance(key, CosignatureVerifier):
            raise self._fault(Fault.POLICY_WITNESS_KEY_TYPE, "witness key is a log's of type 0x01, want 0x04 or 0x06")
        if any(witness.key.public_key == key.public_key for witness in self.witnesses):
            raise self._fault(Fault.POLICY_WITNESS_TWICE, "witness key stands on an earlier line")
        self._want_room(len(self.witnesses), MAX_WITNESSES, "witnesses")
        self._define(items[0])
        self.witnesses.append(Witness(name=items[0], key=key, url=items[2] if len(items) == 3 else ""))

    def _group(self, items: list[str]) -> None:
        if len(items) < 3:
            raise self._fault(Fault.POLICY_GROUP_LINE, "group has too few items, want a name, a threshold and members")
        name, threshold, *members = items
        for member in members:
            self._join(member)
        self._want_room(len(self.groups), MAX_GROUPS, "groups")
        self._define(name)
        count = self._threshold(threshold, len(members))
        self.groups.append(Group(name=name, threshold=count, members=tuple(members)))

    def _threshold(self, text: str, members: int) -> int:
        if text in ("all", "any"):
            return members if text == "all" else 1
        if not _THRESHOLD.fullmatch(text) or int(text) > members:
            message = f"threshold is {shown(text[:32])}, want all, any or 1 to {members}"
            raise self._fault(Fault.POLICY_THRESHOLD, message)
        return int(text)

    def _join(self, member: str) -> None:
        if member == NONE:
            raise self._fault(Fault.POLICY_NONE_AS_MEMBER, "none is a member, want witnesses and groups")
        self._want_defined(member)
        if member in self.members:
            raise self._fault(Fault.POLICY_MEMBER_TWICE, f"{shown(member[:64])} is a member already")
        self.members.add(member)

    def _quorum(self, items: list[str]) -> None:
        if len(items) != 1:
            raise self._fault(Fault.POLICY_QUORUM_LINE, f"quorum has {len(items)} items, want one name")
        if self.quorum is not None:
            raise self._fault(Fault.POLICY_QUORUM_TWICE, "quorum stands on an earlier line")
        self._want_defined(items[0])
        self.quorum = items[0]

    def _define(self, name: str) -> None:
        if name in self.names:
            raise self._fault(Fault.POLICY_NAME_TWICE, f"name {shown(name[:64])} is taken")
        self.names.add(name)

    def _want_defined(self, name: str) -> None:
        if name not in self.names:
            raise self._fault(Fault.POLICY_NAME_UNDEFINED, f"name {shown(name[:64])} is not defined before")

    def _want_room(self, count: int, maximum: int, what: str) -> None:
        if count == maximum:
            raise self._fault(Fault.POLICY_LIMIT, f"there are more {what} than {maximum}")

    def _fault(self, fault: Fault, message: str) -> MalformedLog:
        return MalformedLog(fault, f"policy line {self.line}: {message}")
