# SPDX-License-Identifier: Apache-2.0
"""EAT Attestation Results: what an appraisal came to, for relying parties of other makes (draft-ietf-rats-ear-04).

    EAR       = {eat_profile 265: "tag:ietf.org,2026:rats/ear#04", iat 6, ? exp 4, ear_status 1000,
                 ear_verifier_id 1004: {developer 0, build 1}, ? eat_nonce 10, submods 266: {+ label: Appraisal}}
    Appraisal = {ear_status 1000, ear_trustworthiness_vector 1001: {* claim: number},
                 ear_appraisal_policy_ids 1003: [+ text], ? eat_nonce 10,
                 ? ear_attester_claims 1005: {+ text: value}, ? ear_verifier_claims 1006: {+ text: value}}

JSON has the names and base64url nonces, CBOR the numbers and byte strings. `attestation.results.trust` says what the
numbers mean, `attestation.results.appraised` what the labels of submods are and what the claims hold. Raw evidence is
not put in: it names machines.

Reading is total and strict (no floats anywhere), but claims that are unknown are ignored, as the draft asks. A reader
checks no signature: that is `attestation.results.token`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias, TypeVar

from attestation.claims import Scalar
from attestation.errors import MalformedEvidence, Reason
from attestation.results import eat_cbor
from attestation.results.eat_cbor import Item
from attestation.results.trust import Tier, TrustClaim, tier_of
from attestation.tee.strict_json import read_json

PROFILE: Final = "tag:ietf.org,2026:rats/ear#04"
MAX_EAR_BYTES: Final = 1 << 20
MAX_SUBMODS: Final = 64
NONCE_BYTES: Final = range(8, 65)
_MAX_TIME: Final = 253_402_300_799
_LABELS: Final = {
    "eat_profile": 265,
    "iat": 6,
    "exp": 4,
    "eat_nonce": 10,
    "submods": 266,
    "ear_status": 1000,
    "ear_trustworthiness_vector": 1001,
    "ear_appraisal_policy_ids": 1003,
    "ear_verifier_id": 1004,
    "ear_attester_claims": 1005,
    "ear_verifier_claims": 1006,
    "developer": 0,
    "build": 1,
}
_TIERS: Final = {tier.text: tier for tier in Tier}
_CLAIMS: Final = {claim.text: claim for claim in TrustClaim}

ClaimsMap: TypeAlias = Mapping[str, Scalar | tuple[str, ...]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """The result of one attester. `nonce` is the one in its evidence, empty if it has none of 8 to 64 bytes."""

    status: Tier
    vector: Mapping[TrustClaim, int]
    policies: tuple[str, ...]
    nonce: bytes = b""
    attester_claims: ClaimsMap = field(default_factory=dict)
    verifier_claims: ClaimsMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EAR:
    """One attestation result. `nonce` is the relying party's, empty if it gave none; times are whole seconds."""

    issued: datetime
    expires: datetime | None
    developer: str
    build: str
    status: Tier
    submods: Mapping[str, Appraisal]
    nonce: bytes = b""

    def __post_init__(self) -> None:
        """Raises `MalformedEvidence` for a result that claims more trust than its parts give, or has none."""
        if not 0 < len(self.submods) <= MAX_SUBMODS:
            raise _malformed("submods", str(len(self.submods)), f"1..{MAX_SUBMODS}")
        for label, part in self.submods.items():
            if any(_above(part.status, tier_of(value)) for value in part.vector.values()):
                raise _malformed(f"{label} status", part.status.text, "no more trust than its worst claim")
            if _above(self.status, part.status):
                raise _malformed("status", self.status.text, "no more trust than its worst part")
        for nonce in (self.nonce, *(part.nonce for part in self.submods.values())):
            if nonce and len(nonce) not in NONCE_BYTES:
                raise _malformed("eat_nonce", f"{len(nonce)} bytes", "8..64")

    def to_cbor(self) -> bytes:
        """The claims set in CBOR."""
        return eat_cbor.encode(_numbered(self._named(json_form=False)))

    def to_json(self) -> bytes:
        """The claims set in JSON."""
        return json.dumps(self._named(json_form=True), sort_keys=True, separators=(",", ":")).encode()

    def _named(self, *, json_form: bool) -> dict[str, "Named"]:
        named: dict[str, Named] = {
            "eat_profile": PROFILE,
            "iat": int(self.issued.timestamp()),
            "ear_status": _tier(self.status, json_form=json_form),
            "ear_verifier_id": {"developer": self.developer, "build": self.build},
            "submods": {label: _appraisal(part, json_form=json_form) for label, part in self.submods.items()},
        }
        if self.expires is not None:
            named["exp"] = int(self.expires.timestamp())
        return named | _nonce(self.nonce, json_form=json_form)


Named: TypeAlias = "str | int | bytes | bool | Sequence[Named] | Mapping[str, Named]"


def read_cbor(data: bytes) -> EAR:
    """The result of a CBOR claims set. Raises `MalformedEvidence`."""
    if len(data) > MAX_EAR_BYTES:
        raise _malformed("ear", f"{len(data)} bytes", f"at most {MAX_EAR_BYTES}")
    item, tag = eat_cbor.decode(data, "ear")
    if tag is not None:
        raise _malformed("ear", "tagged", "a bare claims set")
    names = {number: name for name, number in _LABELS.items() if name not in ("developer", "build")}
    return _read(_renamed(item, names, "ear"), _Form(json=False))


def read_ear_json(data: bytes) -> EAR:
    """The result of a JSON claims set. Raises `MalformedEvidence`."""
    return _read(_object(read_json(data, "ear", MAX_EAR_BYTES), "ear"), _Form(json=True))


def _appraisal(part: Appraisal, *, json_form: bool) -> Mapping[str, Named]:
    vector: dict[str, Named] = {claim.text: value for claim, value in sorted(part.vector.items())}
    named: dict[str, Named] = {
        "ear_status": _tier(part.status, json_form=json_form),
        "ear_trustworthiness_vector": vector,
        "ear_appraisal_policy_ids": list(part.policies),
        "ear_attester_claims": dict(part.attester_claims),
        "ear_verifier_claims": dict(part.verifier_claims),
    }
    kept = {name: value for name, value in named.items() if value != {}}
    return kept | _nonce(part.nonce, json_form=json_form)


def _tier(tier: Tier, *, json_form: bool) -> str | int:
    return tier.text if json_form else int(tier)


def _nonce(nonce: bytes, *, json_form: bool) -> dict[str, Named]:
    if not nonce:
        return {}
    return {"eat_nonce": base64.urlsafe_b64encode(nonce).rstrip(b"=").decode() if json_form else nonce}


def _numbered(named: Mapping[str, Named]) -> dict[eat_cbor.Key, Item]:
    made: dict[eat_cbor.Key, Item] = {}
    for name, value in named.items():
        if name == "submods":
            assert isinstance(value, Mapping)
            made[_LABELS[name]] = {label: _numbered(_mapping(part)) for label, part in value.items()}
        elif name == "ear_trustworthiness_vector":
            made[_LABELS[name]] = {int(_CLAIMS[claim]): number for claim, number in _mapping(value).items()}  # type: ignore[misc]
        elif name == "ear_verifier_id":
            made[_LABELS[name]] = {_LABELS[key]: text for key, text in _mapping(value).items()}  # type: ignore[misc]
        else:
            made[_LABELS[name]] = value  # type: ignore[assignment]  # the two unions differ in their keys only
    return made


def _mapping(value: Named) -> Mapping[str, Named]:
    assert isinstance(value, Mapping)
    return value


# ---- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Form:
    """How the two serialisations differ where values are read."""

    json: bool

    def tier(self, value: object, name: str) -> Tier:
        found = _TIERS.get(value) if self.json and isinstance(value, str) else None
        if not self.json and isinstance(value, int) and value in set(Tier):
            found = Tier(value)
        if found is None:
            raise _malformed(name, "no tier", "none, affirming, warning or contraindicated")
        return found

    def nonce(self, value: object) -> bytes:
        if value is None:
            return b""
        if self.json and isinstance(value, str) and value.isascii():
            try:
                nonce = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
            except ValueError:
                nonce = b""
            if base64.urlsafe_b64encode(nonce).rstrip(b"=").decode() == value and nonce:
                return nonce
        if not self.json and isinstance(value, bytes) and value:
            return value
        raise _malformed("eat_nonce", "no nonce", "8..64 bytes")

    def fields(self, value: object, numbers: Mapping[int, str], name: str) -> Mapping[str, object]:
        return _object(value, name) if self.json else _renamed(value, numbers, name)


def _read(named: Mapping[str, object], form: _Form) -> EAR:
    if named.get("eat_profile") != PROFILE:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"ear eat_profile is another, want {PROFILE}")
    verifier = form.fields(named.get("ear_verifier_id"), {0: "developer", 1: "build"}, "ear_verifier_id")
    submods = _object(named.get("submods"), "submods")
    parts = {label: _read_appraisal(part, form, label) for label, part in submods.items()}
    status = form.tier(named.get("ear_status"), "ear_status")
    ends = named.get("exp")
    return EAR(
        issued=_time(named.get("iat"), "iat"),
        expires=None if ends is None else _time(ends, "exp"),
        developer=_text(verifier.get("developer"), "developer"),
        build=_text(verifier.get("build"), "build"),
        status=status,
        submods=parts,
        nonce=form.nonce(named.get("eat_nonce")),
    )


def _read_appraisal(value: object, form: _Form, label: str) -> Appraisal:
    numbers = {number: name for name, number in _LABELS.items() if name not in ("developer", "build")}
    named = form.fields(value, numbers, f"submod {label[:32]!r}")
    claims = {int(claim): claim.text for claim in TrustClaim}
    vector = form.fields(named.get("ear_trustworthiness_vector", {}), claims, "ear_trustworthiness_vector")
    policies = named.get("ear_appraisal_policy_ids")
    if not isinstance(policies, list) or not policies:
        raise _malformed("ear_appraisal_policy_ids", "no list", "one or more")
    return Appraisal(
        status=form.tier(named.get("ear_status"), "ear_status"),
        vector={_CLAIMS[claim]: _number(vector[claim], claim) for claim in vector if claim in _CLAIMS},
        policies=tuple(_text(policy, "ear_appraisal_policy_ids") for policy in policies),
        nonce=form.nonce(named.get("eat_nonce")),
        attester_claims=_claims_map(named.get("ear_attester_claims", {}), "ear_attester_claims"),
        verifier_claims=_claims_map(named.get("ear_verifier_claims", {}), "ear_verifier_claims"),
    )


def _claims_map(value: object, name: str) -> ClaimsMap:
    made: dict[str, Scalar | tuple[str, ...]] = {}
    for key, item in _object(value, name).items():
        if isinstance(item, list):
            made[key] = tuple(_text(part, f"{name} {key[:32]!r}") for part in item)
        elif isinstance(item, (str, int)):
            made[key] = item
        else:
            raise _malformed(f"{name} {key[:32]!r}", "of another type", "text, integer, bool or texts")
    return made


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _malformed(name, "no object", "an object with text keys")
    return value


def _renamed(value: object, numbers: Mapping[int, str], name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _malformed(name, "no map", "a map")
    return {numbers[key]: item for key, item in value.items() if isinstance(key, int) and key in numbers}


def _time(value: object, name: str) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TIME:
        raise _malformed(name, "no time", "whole seconds")
    return datetime.fromtimestamp(value, UTC)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _malformed(name, "no text", "a text")
    return value


def _number(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -128 <= value <= 127:
        raise _malformed(name, "no claim", "an integer -128..127")
    return value


def _above(status: Tier, worst: Tier) -> bool:
    """Whether `status` states more trust than `worst` gives; a claim that is not made takes nothing away."""
    return worst in (Tier.WARNING, Tier.CONTRAINDICATED) and status < worst and status is not Tier.NONE


def _malformed(field_: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"ear {field_} is {got}, want {want}")
