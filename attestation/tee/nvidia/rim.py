# SPDX-License-Identifier: Apache-2.0
"""NVIDIA reference integrity manifests: the golden values a driver, a VBIOS or a switch firmware must measure.

SWID tags (ISO/IEC 19770-2:2015) in the profile of the TCG RIM Information Model 1.01, with an enveloped signature
(`rim_signature`). Everything is read from the octets that were signed:

    SoftwareIdentity patch="false" supplemental="false"
      Meta PayloadType="direct" edition="GPU"|"SWITCH" product=chip colloquialVersion=version revision="r<n>"
      Payload ( Resource* )
    Resource type="Measurement" index=i active="True"|"False" alternatives=n size="48" SHA384:Hash0..Hash<n-1>

Index i of a manifest is block i+1 of a report. Only active entries count. Whether the signer is still within its two
years is `valid_at`, apart from genuineness, because NVIDIA keeps manifests in use beyond it; policy decides. Not
checked: revocation of the signer (the chain is returned for that), and for a VBIOS the board project and SKU, which
NVIDIA states only in the name it serves the manifest under.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from lxml import etree

from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.certificates import VerifiedChain
from attestation.tee.nvidia.rim_signature import verify_enveloped
from attestation.tee.nvidia.rim_xml import malformed, parse_xml

RIM_ROOTS: Final = frozenset({bytes.fromhex("12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1")})
"""SHA-256 of the DER of "NVIDIA CoRIM signing Root CA"."""

MAX_INDEX: Final = 254
"""SPDM counts measurement blocks 1..255."""

MAX_ALTERNATIVES: Final = 64
DIGEST_BYTES: Final = 48
_SWID: Final = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_HASH: Final = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
_DRIVER: Final = re.compile(r"[0-9]{3,4}(\.[0-9]{1,3}){1,3}")
_FIRMWARE: Final = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_PRODUCT: Final = re.compile(r"[A-Z0-9]{2,16}")
_REVISION: Final = re.compile(r"r[0-9]{1,6}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_DIGEST: Final = re.compile(r"[0-9a-f]{96}")


class RIMKind(StrEnum):
    """What a manifest speaks of."""

    DRIVER = "driver"
    VBIOS = "vbios"
    SWITCH = "switch"


_KINDS: Final[Mapping[tuple[str | None, bool], RIMKind]] = {
    ("GPU", False): RIMKind.DRIVER,
    ("GPU", True): RIMKind.VBIOS,
    ("SWITCH", True): RIMKind.SWITCH,
}
"""By edition, and whether the version is of firmware."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRIM:
    """What a genuine manifest says. `golden` holds the active entries: 48-byte alternatives by index, 0-based.

    `sha256` is of the file as received: white space outside the signed content can alter it, the rest it cannot.
    """

    kind: RIMKind
    product: str
    version: str
    revision: str
    golden: Mapping[int, frozenset[bytes]]
    chain: VerifiedChain
    sha256: bytes

    @property
    def valid_from(self) -> datetime:
        """When the last certificate of its signers began."""
        return self.chain.not_before

    @property
    def valid_until(self) -> datetime:
        """When the first certificate of its signers ends."""
        return self.chain.not_after

    def valid_at(self, now: datetime) -> bool:
        """Whether every certificate of its signers is within its validity."""
        return self.valid_from <= now <= self.valid_until


def read_rim(xml: bytes, *, roots: Collection[bytes] = RIM_ROOTS) -> VerifiedRIM:
    """The manifest in `xml`, signed by a chain of four to one of `roots` (SHA-256 of DER).

    Raises:
        MalformedEvidence: it is no manifest of this profile (UNSUPPORTED: of another edition, form or algorithm).
        NotGenuine: RIM_INVALID, CHAIN_INVALID or ROOT_REFUSED.
    """
    root = parse_xml(xml, "rim")
    _check_root(root)
    content, chain = verify_enveloped(root, roots=roots)
    signed = parse_xml(content, "rim content")
    kind, product, version, revision = read_meta(_only(signed, "Meta"))
    return VerifiedRIM(
        kind=kind,
        product=product,
        version=version,
        revision=revision,
        golden=read_payload(_only(signed, "Payload")),
        chain=chain,
        sha256=hashlib.sha256(xml).digest(),
    )


def read_meta(meta: etree._Element) -> tuple[RIMKind, str, str, str]:
    """Kind, product, version and revision. Raises `MalformedEvidence`, UNSUPPORTED for an unknown edition."""
    if meta.get("PayloadType") != "direct":
        raise _unsupported("PayloadType", meta.get("PayloadType"), "direct")
    version = _matching(meta, "colloquialVersion", re.compile(f"{_DRIVER.pattern}|{_FIRMWARE.pattern}"))
    firmware = _FIRMWARE.fullmatch(version) is not None
    kind = _KINDS.get((meta.get("edition"), firmware))
    if kind is None:
        raise _unsupported("edition", meta.get("edition"), "GPU, or SWITCH of a firmware")
    return kind, _matching(meta, "product", _PRODUCT), version, _matching(meta, "revision", _REVISION)


def read_payload(payload: etree._Element) -> Mapping[int, frozenset[bytes]]:
    """The active entries of a payload. Raises `MalformedEvidence` if any entry is wrong, or none is active."""
    golden: dict[int, frozenset[bytes]] = {}
    seen: set[int] = set()
    for resource in payload:
        if resource.tag != f"{_SWID}Resource" or resource.get("type") != "Measurement" or len(resource):
            raise malformed("rim payload", "of other elements", "measurements")
        index = _number(resource, "index", MAX_INDEX)
        if index in seen:
            raise malformed("rim index", f"{index} twice", "each once")
        seen.add(index)
        alternatives = _alternatives(resource)
        if _matching(resource, "active", re.compile("True|False")) == "True":
            golden[index] = alternatives
    if not golden:
        raise malformed("rim payload", "without active measurements", "one at least")
    return MappingProxyType(golden)


def select_rim(rims: Iterable[VerifiedRIM], *, kind: RIMKind, product: str, version: str) -> VerifiedRIM | None:
    """The newest manifest whose signed content names this chip and version, or None."""
    fitting = [rim for rim in rims if (rim.kind, rim.product, rim.version) == (kind, product, version.upper())]
    return max(fitting, key=lambda rim: (int(rim.revision[1:]), rim.valid_from, rim.sha256), default=None)


def compare(values: Mapping[int, bytes], rim: VerifiedRIM, *, skip: Collection[int] = ()) -> tuple[int, ...]:
    """The indices, ascending, whose measured value is absent or none of the golden alternatives; empty is a match.

    `values` are a report's by golden index (its block's number less one). `skip` names indices that do not count on
    this device, as 35 while its video decoder is switched off.
    """
    return tuple(
        index for index in sorted(rim.golden) if index not in skip and values.get(index) not in rim.golden[index]
    )


def check_disjoint(driver: VerifiedRIM, vbios: VerifiedRIM) -> None:
    """Raises `NotGenuine` (RIM_INVALID) if both manifests claim one index, which leaves open which value holds."""
    if both := sorted(driver.golden.keys() & vbios.golden.keys()):
        raise NotGenuine(Reason.RIM_INVALID, f"rim index {both[0]} is active for driver and vbios, want one of them")


def _check_root(root: etree._Element) -> None:
    if root.tag != f"{_SWID}SoftwareIdentity":
        raise malformed("rim root", "another element", "SoftwareIdentity of ISO/IEC 19770-2:2015")
    for name in ("patch", "supplemental"):
        if root.get(name) != "false":
            raise _unsupported(name, root.get(name), "false")


def _only(root: etree._Element, name: str) -> etree._Element:
    found = root.findall(f"{_SWID}{name}")
    if len(found) != 1:
        raise malformed(f"rim {name}", f"there {len(found)} times", "there once")
    return found[0]


def _alternatives(resource: etree._Element) -> frozenset[bytes]:
    if resource.get("size") != str(DIGEST_BYTES):
        raise malformed("rim size", repr(resource.get("size", ""))[:20], str(DIGEST_BYTES))
    count = _number(resource, "alternatives", MAX_ALTERNATIVES)
    names = [f"{_HASH}{place}" for place in range(count)]
    if not names or {key for key in map(str, resource.attrib) if "Hash" in key} != set(names):
        raise malformed("rim hashes", "not as many as alternatives says", f"Hash0..Hash{max(0, count - 1)}")
    return frozenset(bytes.fromhex(_matching(resource, name, _DIGEST)) for name in names)


def _number(element: etree._Element, name: str, most: int) -> int:
    value = int(_matching(element, name, _NUMBER))
    if value > most:
        raise malformed(f"rim {name}", value, f"at most {most}")
    return value


def _matching(element: etree._Element, name: str, pattern: re.Pattern[str]) -> str:
    value = element.get(name)
    if value is None or not pattern.fullmatch(value):
        raise malformed(f"rim {name.rpartition('}')[2]}", repr((value or "")[:32]), f"of the form {pattern.pattern}")
    return value


def _unsupported(name: str, got: str | None, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.UNSUPPORTED, f"rim {name} is {(got or '')[:32]!r}, want {want}")
