# SPDX-License-Identifier: Apache-2.0
"""What each kind of log entry must and may say (docs/spec.md, 10.4): one table, checked when writing and when reading.

Nothing here names a person, a tenant, a prompt or a chip: staff stand as pseudonyms, hardware identities as HMACs under
a key of the log that auditors are given, and claims that are known to identify a machine are refused by name.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from attestation.errors import MalformedEvidence, Reason
from attestation.tlog.jcs import JSON
from attestation.tlog.note import NoteVerifier

VERSION: Final = 1


class Kind(StrEnum):
    """The kinds of entries of the evidence log."""

    GENESIS = "genesis"
    KEY_ADD = "key.add"
    ATTEST_VERDICT = "attest.verdict"
    ATTEST_REVOKE = "attest.revoke"
    PLATFORM_MOVE = "platform.move"
    POLICY_PUBLISH = "policy.publish"
    ADMIN_CHANGE = "admin.change"
    AUDIT_ACCESS = "audit.access"


Check: TypeAlias = Callable[[JSON, str], None]
"""Checks a value and names the field it refuses. Raises `MalformedEvidence`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The keys an object must have and may have; it has no others."""

    required: Mapping[str, Check]
    optional: Mapping[str, Check] = field(default_factory=dict)
    rule: Check | None = None

    def __call__(self, value: JSON, name: str) -> None:
        """Checks an object key by key, then what its keys say together."""
        if not isinstance(value, Mapping):
            raise refused(f"{name} is not an object")
        for key in self.required:
            if key not in value:
                raise refused(f"{name} has no {key}")
        for key, item in value.items():
            check = self.required.get(key) or self.optional.get(key)
            if check is None:
                raise refused(f"{name} has an unknown key, want one of {sorted({*self.required, *self.optional})}")
            check(item, f"{name} {key}")
        if self.rule is not None:
            self.rule(value, name)


def refused(message: str) -> MalformedEvidence:
    """The error for an entry that is not as the table says."""
    return MalformedEvidence(Reason.ENTRY_INVALID, message)


def format_time(at: datetime) -> str:
    """RFC 3339 in UTC, whole seconds (a fraction is cut off)."""
    return at.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def parse_time(value: JSON, name: str) -> datetime:
    """The instant that `format_time` wrote. Raises `MalformedEvidence` naming the field."""
    text = _text_of(value, name, 20)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise refused(f"{name} is not a time like 2026-11-21T22:10:05Z") from None
    if at.tzinfo is None or format_time(at) != text:
        raise refused(f"{name} is not a time like 2026-11-21T22:10:05Z")
    return at


def _text_of(value: JSON, name: str, maximum: int) -> str:
    if not isinstance(value, str) or not value or len(value) > maximum:
        raise refused(f"{name} is not a text of 1 to {maximum} characters")
    return value


def time(value: JSON, name: str) -> None:
    """A time as `format_time` writes it."""
    parse_time(value, name)


def text(maximum: int, *, lines: bool = False) -> Check:
    """Printable text; with `lines`, newlines and tabs too."""

    def check(value: JSON, name: str) -> None:
        got = _text_of(value, name, maximum)
        # Invisible and direction-turning characters would let an entry read otherwise than it is.
        if not (got.replace("\n", "").replace("\t", "") if lines else got).isprintable():
            raise refused(f"{name} has characters that do not print")

    return check


def pattern(regex: str, want: str) -> Check:
    """A string that `regex` matches as a whole."""
    compiled = re.compile(regex)

    def check(value: JSON, name: str) -> None:
        if not isinstance(value, str) or compiled.fullmatch(value) is None:
            raise refused(f"{name} is not {want}")

    return check


def one_of(*values: str) -> Check:
    """One of these strings."""

    def check(value: JSON, name: str) -> None:
        if value not in values:
            raise refused(f"{name} is not one of {', '.join(values)}")

    return check


def integer(minimum: int) -> Check:
    """An integer from `minimum` up to 2^53 - 1."""

    def check(value: JSON, name: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 1 << 53:
            raise refused(f"{name} is not an integer from {minimum} up")

    return check


def boolean(value: JSON, name: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise refused(f"{name} is not true or false")


def list_of(check: Check, maximum: int) -> Check:
    """An array of at most `maximum` values, each as `check` says."""

    def check_all(value: JSON, name: str) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) > maximum:
            raise refused(f"{name} is not an array of at most {maximum}")
        for item in value:
            check(item, name)

    return check_all


# Each is the last part of a claim's name under which a verifier reports the identity of one machine or one board.
IDENTIFYING_CLAIMS: Final = frozenset(
    {"ppid", "chip_id", "chipid", "hwid", "serial", "serial_number", "uuid", "ek", "ek_cert", "board_id", "platform_id"}
)
_CLAIM_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def claims(value: JSON, name: str) -> None:
    """Flat strings by name, none of which identifies a machine."""
    if not isinstance(value, Mapping) or len(value) > 64:
        raise refused(f"{name} is not an object of at most 64 claims")
    for key, item in value.items():
        if _CLAIM_NAME.fullmatch(key) is None:
            raise refused(f"{name} has a name that is not lower-case letters, digits, dot, dash and underscore")
        if key.rsplit(".", 1)[-1] in IDENTIFYING_CLAIMS:
            raise refused(f"{name} has {key}, which identifies a machine and may stand here only as an HMAC")
        _line(item, f"{name} {key}")


def vkey(value: JSON, name: str) -> None:
    """A note verifier key."""
    NoteVerifier.parse(_text_of(value, name, 512))


_line = text(512)
_digest = pattern(r"[0-9a-f]{64}", "64 lower-case hex digits")
_hex = pattern(r"(?:[0-9a-f]{2}){1,2048}", "lower-case hex digits of 1 to 2048 bytes")
_code = pattern(r"[A-Z][A-Z0-9_]{0,63}", "a reason code in capitals")
_pseudonym = pattern(r"[a-z0-9][a-z0-9._-]{0,63}", "a pseudonym in lower-case letters, digits, dot, dash, underscore")
_token = pattern(r"[a-z0-9][a-z0-9._/-]{0,127}", "a name in lower-case letters, digits, dot, dash, underscore, slash")
_profile = one_of("production", "development")
_blob = Shape(required={"type": _token, "sha256": _digest, "size": integer(0)}, optional={"issued": time})


def _verdict_rule(entry: JSON, name: str) -> None:
    assert isinstance(entry, Mapping)
    valid_until, reasons = entry.get("valid_until"), entry["reasons"]
    if entry["verdict"] == "fail":
        if not reasons or valid_until is not None:
            raise refused(f"{name} is a refusal without reasons or with valid_until")
        return
    if reasons or valid_until is None or parse_time(valid_until, name) <= parse_time(entry["at"], name):
        raise refused(f"{name} is a pass with reasons, or without valid_until after at")
    missing = [key for key in _PASS_REQUIRES if key not in entry]
    if missing:
        raise refused(f"{name} is a pass without {missing[0]}")
    policy = entry["policy"]
    if entry["simulated"] and isinstance(policy, Mapping) and policy["profile"] != "development":
        raise refused(f"{name} is a pass of simulated evidence under a policy that is not for development")


def _policy_rule(entry: JSON, name: str) -> None:
    assert isinstance(entry, Mapping)
    document = entry.get("text")
    if isinstance(document, str) and hashlib.sha256(document.encode()).hexdigest() != entry["sha256"]:
        raise refused(f"{name} sha256 is not that of its text")


def _move_rule(entry: JSON, name: str) -> None:
    assert isinstance(entry, Mapping)
    if entry["from"] == entry["to"]:
        raise refused(f"{name} is from a provider to itself")


def _key_rule(entry: JSON, name: str) -> None:
    assert isinstance(entry, Mapping)
    if entry["use"] in _KEYS_OF_32_BYTES:
        _digest(entry["key"], f"{name} key")


_KEYS_OF_32_BYTES: Final = ("gateway-sign", "gateway-tls", "lease")
_PASS_REQUIRES: Final = (
    "worker_id",
    "keyset_id",
    "binding_digest",
    "challenge",
    "claims",
    "engines",
    "keys",
    "tls_spki_sha256",
)

_BODIES: Final[Mapping[Kind, Shape]] = {
    Kind.GENESIS: Shape(required={"origin": _line, "log_key": vkey, "lease_key": _digest}),
    Kind.KEY_ADD: Shape(
        required={"use": _token, "key": _hex, "subject": _digest},
        optional={"by": _pseudonym, "not_after": time},
        rule=_key_rule,
    ),
    Kind.ATTEST_VERDICT: Shape(
        required={
            "provider": _line,
            "provider_id": _digest,
            "audience": _line,
            "evidence": list_of(_blob, 64),
            "collateral": list_of(_blob, 64),
            "policy": Shape(
                required={"id": _token, "version": integer(1), "sha256": _digest, "profile": _profile},
            ),
            "verifier": Shape(required={"version": _line, "sha256": _digest}),
            "verdict": one_of("pass", "fail"),
            "reasons": list_of(_code, 64),
            "simulated": boolean,
        },
        # A refusal says as much of these as could be read; a pass says them all.
        optional={
            "worker_id": _digest,
            "keyset_id": _digest,
            "binding_digest": _digest,
            "challenge": _hex,
            "claims": claims,
            "engines": list_of(_digest, 64),
            "keys": list_of(Shape(required={"use": _token, "sha256": _digest}), 16),
            "tls_spki_sha256": _digest,
            "platforms": list_of(_digest, 64),
            "valid_until": time,
        },
        rule=_verdict_rule,
    ),
    Kind.ATTEST_REVOKE: Shape(
        required={"keyset_id": _digest, "worker_id": _digest, "reason": _line, "by": _pseudonym, "simulated": boolean},
    ),
    Kind.PLATFORM_MOVE: Shape(
        required={"platform": _digest, "from": _digest, "to": _digest, "worker_id": _digest, "simulated": boolean},
        rule=_move_rule,
    ),
    Kind.POLICY_PUBLISH: Shape(
        required={"id": _token, "version": integer(1), "sha256": _digest, "profile": _profile},
        optional={"text": text(14_000, lines=True), "by": _pseudonym},
        rule=_policy_rule,
    ),
    Kind.ADMIN_CHANGE: Shape(
        required={"by": _pseudonym, "action": _token},
        optional={"target": _line, "detail": _line, "approved_by": _pseudonym},
    ),
    Kind.AUDIT_ACCESS: Shape(
        required={"by": _pseudonym, "action": _token, "target": _line},
        optional={"purpose": _line},
    ),
}


def check_entry(entry: Mapping[str, JSON]) -> tuple[Kind, datetime]:
    """Kind and time of an entry that is as the table says. Raises `MalformedEvidence`, ENTRY_INVALID."""
    if entry.get("v") != VERSION or isinstance(entry.get("v"), bool):
        raise refused(f"entry v is not {VERSION}")
    name = entry.get("kind")
    if not isinstance(name, str) or name not in set(Kind):
        raise refused("entry kind is not known")
    kind = Kind(name)
    body = _BODIES[kind]
    envelope: dict[str, Check] = {"v": integer(VERSION), "kind": one_of(kind), "at": time}
    Shape(required={**envelope, **body.required}, optional=body.optional, rule=body.rule)(entry, kind)
    return kind, parse_time(entry["at"], f"{kind} at")
