# SPDX-License-Identifier: Apache-2.0
"""Conceptual message wrappers: evidence, endorsements or results with their media types, and collections (RFC 9999).

    CBOR   record = [type: tstr | uint16, value: bstr, ? ind: uint]    collection = {? "__cmwc_t": tstr, + label: cmw}
    JSON   record = [type: text, value: base64url, ? ind: uint]        label = text, in CBOR also int
    ind    1 reference values, 2 endorsements, 4 evidence, 8 attestation results, 16 appraisal policy, added up

Media types: `application/cmw+cbor`, `application/cmw+json`. Records in the form of CBOR tags are refused as
unsupported. A collection is at most four deep and has 1 to 256 members. Nothing here is signed or believed.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from attestation.errors import MalformedEvidence, Reason
from attestation.results import eat_cbor
from attestation.results.eat_cbor import Item, Key
from attestation.tee.strict_json import read_json

REFERENCE_VALUES, ENDORSEMENTS, EVIDENCE, RESULTS = 1, 2, 4, 8
MAX_CMW_BYTES: Final = 32 << 20
MAX_MEMBERS: Final = 256
MAX_NESTING: Final = 4
_COLLECTION_TYPE: Final = "__cmwc_t"
_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]{1,127}"
_PARAMETER: Final = rf"\s*;\s*{_WORD}=(?:{_WORD}|\"[^\"\\\r\n]{{0,256}}\")"
_MEDIA_TYPE: Final = re.compile(rf"{_WORD}/{_WORD}(?:{_PARAMETER}){{0,8}}")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[\x21-\x7e]{1,512}|[0-2](?:\.(?:0|[1-9][0-9]{0,9})){1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One message: its media type (or, in CBOR, CoAP content format), its bytes, and what kinds of message it holds."""

    type: str | int
    value: bytes
    indicator: int | None = None

    def __post_init__(self) -> None:
        """Raises `MalformedEvidence` for what is no media type, content format or indicator."""
        if not _is_type(self.type):
            raise _malformed("record type", repr(self.type)[:64], "a media type or content format")
        if self.indicator is not None and not 1 <= self.indicator <= 31:
            raise _malformed("indicator", str(self.indicator), "1..31")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Messages by label. `type` is a URI or OID that says what the labels mean."""

    members: Mapping[Key, "CMW"]
    type: str | None = None

    def __post_init__(self) -> None:
        """Raises `MalformedEvidence` for a count, label or type out of bounds."""
        if not 0 < len(self.members) <= MAX_MEMBERS:
            raise _malformed("collection", f"of {len(self.members)} members", f"1..{MAX_MEMBERS}")
        if _COLLECTION_TYPE in self.members:
            raise _malformed("label", _COLLECTION_TYPE, "one that is not reserved")
        if self.type is not None and not _URI.fullmatch(self.type):
            raise _malformed("collection type", repr(self.type)[:64], "a uri or oid")


CMW: TypeAlias = Record | Collection


def encode_cbor(cmw: CMW) -> bytes:
    """The wrapper as `application/cmw+cbor`."""
    return eat_cbor.encode(_cbor_item(cmw))


def encode_json(cmw: CMW) -> bytes:
    """The wrapper as `application/cmw+json`. Raises `MalformedEvidence` for content formats and integer labels."""
    return json.dumps(_json_item(cmw), separators=(",", ":")).encode()


def decode(data: bytes) -> CMW:
    """The wrapper in exactly these bytes, CBOR or JSON by their first one. Raises `MalformedEvidence`."""
    if not 0 < len(data) <= MAX_CMW_BYTES:
        raise _malformed("bytes", str(len(data)), f"1..{MAX_CMW_BYTES}")
    if data[:1] in (b"[", b"{") or data[:1].isspace():
        return _from_json(read_json(data, "cmw", MAX_CMW_BYTES), 0)
    item, tag = eat_cbor.decode(data, "cmw")
    if tag is not None:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"cmw is tag {tag}, want a record or collection")
    return _from_cbor(item, 0)


def _cbor_item(cmw: CMW) -> Item:
    if isinstance(cmw, Record):
        return [cmw.type, cmw.value, *([] if cmw.indicator is None else [cmw.indicator])]
    members: dict[Key, Item] = {label: _cbor_item(member) for label, member in cmw.members.items()}
    return members if cmw.type is None else {_COLLECTION_TYPE: cmw.type, **members}


def _json_item(cmw: CMW) -> object:
    if isinstance(cmw, Record):
        if isinstance(cmw.type, int):
            raise _malformed("record type", "a content format", "a media type in json")
        value = base64.urlsafe_b64encode(cmw.value).rstrip(b"=").decode()
        return [cmw.type, value, *([] if cmw.indicator is None else [cmw.indicator])]
    members: dict[str, object] = {} if cmw.type is None else {_COLLECTION_TYPE: cmw.type}
    for label, member in cmw.members.items():
        if not isinstance(label, str):
            raise _malformed("label", "an integer", "a text in json")
        members[label] = _json_item(member)
    return members


def _from_cbor(item: object, depth: int) -> CMW:
    if isinstance(item, list):
        kind, value, indicator = _parts(item)
        if isinstance(kind, bool) or not isinstance(kind, (int, str)) or not isinstance(value, bytes):
            raise _malformed("record", "of other types", "a type and a byte string")
        return Record(type=kind, value=value, indicator=indicator)
    return _collection(item, depth, _from_cbor)


def _from_json(item: object, depth: int) -> CMW:
    if isinstance(item, list):
        kind, value, indicator = _parts(item)
        if not isinstance(kind, str) or not isinstance(value, str):
            raise _malformed("record", "of other types", "a media type and base64url")
        return Record(type=kind, value=_unbase64(value), indicator=indicator)
    return _collection(item, depth, _from_json)


def _is_type(kind: str | int) -> bool:
    if isinstance(kind, int):
        return 0 <= kind < 1 << 16
    return _MEDIA_TYPE.fullmatch(kind) is not None


def _parts(item: list[object]) -> tuple[object, object, int | None]:
    if len(item) not in (2, 3):
        raise _malformed("record", f"of {len(item)} members", "2 or 3")
    indicator = item[2] if len(item) == 3 else None
    if indicator is not None and (isinstance(indicator, bool) or not isinstance(indicator, int)):
        raise _malformed("indicator", "no integer", "1..31")
    return item[0], item[1], indicator


def _collection(item: object, depth: int, read: Callable[[object, int], CMW]) -> Collection:
    if not isinstance(item, Mapping) or depth >= MAX_NESTING:
        raise _malformed("wrapper", "neither record nor collection, or nested deeper", f"one, {MAX_NESTING} deep")
    kind = item.get(_COLLECTION_TYPE)
    if kind is not None and not isinstance(kind, str):
        raise _malformed("collection type", "no text", "a uri or oid")
    members = {label: read(member, depth + 1) for label, member in item.items() if label != _COLLECTION_TYPE}
    return Collection(members=members, type=kind)


def _unbase64(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if text.isascii() else b""
    except ValueError:
        data = b""
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise _malformed("record value", "no base64url", "base64url without padding")
    return data


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"cmw {field} is {got}, want {want}")
