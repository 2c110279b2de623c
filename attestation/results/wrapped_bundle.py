# SPDX-License-Identifier: Apache-2.0
"""An evidence bundle as a CMW collection, and back, so that other verifiers can take what this one judged (RFC 9999).

    {"__cmwc_t": "tag:sealbid.example,2026:evidence-bundle#1",
     "challenge", "keyset", "binding": ["application/vnd.sealbid.binding+cbor;part=<label>", bytes, 4],
     "evidence-0"..:   ["application/vnd.sealbid.evidence;kind=<kind>;format=<format>", bytes, 4],
     "collateral-0"..: ["<media type>;kind=<kind>", bytes, 2]}

Numbers count from 0 in the order of the bundle, without gaps. Collateral has the media type it has elsewhere: X.509
certificates, revocation lists, OCSP responses, PEM chains, SWID tags; our `kind` stands beside it. The media types in
`vnd.sealbid` and the tag are not registered. A bundle goes out and comes back byte for byte; what is no plain name in
it (a format or kind its sender chose) cannot go out. A collection holds raw identities of machines: it is for auditors.
"""

import re
from collections.abc import Mapping
from typing import Final

from attestation.bundle import MAX_COLLATERAL, MAX_EVIDENCE, Collateral, Evidence, EvidenceBundle, tee_kind
from attestation.errors import MalformedEvidence, Reason
from attestation.results.cmw import CMW, ENDORSEMENTS, EVIDENCE, Collection, Record

COLLECTION_TYPE: Final = "tag:sealbid.example,2026:evidence-bundle#1"
_PARTS: Final = ("challenge", "keyset", "binding")
_PART: Final = "application/vnd.sealbid.binding+cbor;part={}"
_EVIDENCE: Final = "application/vnd.sealbid.evidence;kind={};format={}"
_OTHER: Final = "application/vnd.sealbid.collateral"
_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "amd-certificate": "application/pkix-cert",
    "tpm-certificate": "application/pkix-cert",
    "amd-crl": "application/pkix-crl",
    "x509-crl": "application/pkix-crl",
    "nvidia-chain": "application/pem-certificate-chain",
    "nvidia-ocsp": "application/ocsp-response",
    "nvidia-rim": "application/swid+xml",
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_EVIDENCE_TYPE: Final = re.compile(
    rf"application/vnd\.sealbid\.evidence;kind=({_NAME.pattern});format=({_NAME.pattern})"
)
_COLLATERAL_TYPE: Final = re.compile(rf"([a-z0-9./+-]{{1,64}});kind=({_NAME.pattern})")


def wrap_bundle(bundle: EvidenceBundle) -> Collection:
    """The bundle as a collection. Raises `MalformedEvidence` (UNSUPPORTED) for a format or kind not plainly named."""
    members: dict[int | str, CMW] = {
        label: Record(type=_PART.format(label), value=getattr(bundle, label), indicator=EVIDENCE) for label in _PARTS
    }
    for place, evidence in enumerate(bundle.evidence):
        kind = _EVIDENCE.format(evidence.kind.value, _plain(evidence.format))
        members[f"evidence-{place}"] = Record(type=kind, value=evidence.data, indicator=EVIDENCE)
    for place, item in enumerate(bundle.collateral):
        kind = _collateral_type(_plain(item.kind))
        members[f"collateral-{place}"] = Record(type=kind, value=item.data, indicator=ENDORSEMENTS)
    return Collection(members=members, type=COLLECTION_TYPE)


def unwrap_bundle(collection: CMW) -> EvidenceBundle:
    """The bundle in a collection, exactly as `wrap_bundle` would have written it. Raises `MalformedEvidence`."""
    if not isinstance(collection, Collection) or collection.type != COLLECTION_TYPE:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"cmw is of another type, want {COLLECTION_TYPE}")
    left = dict(collection.members)
    parts = {label: _record(left.pop(label, None), label).value for label in _PARTS}
    evidence = [_evidence(record) for record in _numbered(left, "evidence", MAX_EVIDENCE)]
    collateral = [_collateral(record) for record in _numbered(left, "collateral", MAX_COLLATERAL)]
    bundle = EvidenceBundle(**parts, evidence=tuple(evidence), collateral=tuple(collateral))
    if left or wrap_bundle(bundle) != collection:
        raise _malformed("collection", "of other members, types or indicators", "those of a bundle")
    return bundle


def _numbered(left: dict[int | str, CMW], name: str, most: int) -> list[Record]:
    found = []
    for place in range(most):
        member = left.pop(f"{name}-{place}", None)
        if member is None:
            break
        found.append(_record(member, f"{name}-{place}"))
    return found


def _record(member: CMW | None, label: str) -> Record:
    if not isinstance(member, Record):
        raise _malformed(label, "missing or a collection", "a record")
    return member


def _evidence(record: Record) -> Evidence:
    match = _EVIDENCE_TYPE.fullmatch(str(record.type))
    if match is None:
        raise _malformed("evidence type", repr(record.type)[:64], "that of evidence")
    return Evidence(kind=tee_kind(match[1]), format=match[2], data=record.value)


def _collateral(record: Record) -> Collateral:
    match = _COLLATERAL_TYPE.fullmatch(str(record.type))
    if match is None:
        raise _malformed("collateral type", repr(record.type)[:64], "that of collateral")
    return Collateral(kind=match[2], data=record.value)


def _collateral_type(kind: str) -> str:
    return f"{_MEDIA_TYPES.get(kind, _OTHER)};kind={kind}"


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise MalformedEvidence(Reason.UNSUPPORTED, "format or kind is no plain name, want lower case and digits")
    return name


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"cmw {field} is {got}, want {want}")
