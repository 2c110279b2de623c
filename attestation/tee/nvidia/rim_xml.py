# SPDX-License-Identifier: Apache-2.0
"""The XML subset NVIDIA's reference integrity manifests are written in, parsed within bounds.

Elements, attributes and text in printable ASCII and line feeds, after an optional XML declaration; nothing else. So a
document type, an entity, a character reference, a comment, CDATA, a processing instruction or another encoding is
refused on the raw bytes, before any XML parser sees them. `xml:` attributes are refused because Canonical XML 1.1 and
1.0 differ in them alone. Limits: 128 KiB, 512 elements, 8 levels, 80 attributes per element, 32 namespaces.
"""

import re
from typing import Final

from lxml import etree

from attestation.errors import MalformedEvidence, Reason

MAX_XML_BYTES: Final = 128 << 10
MAX_ELEMENTS: Final = 512
MAX_DEPTH: Final = 8
MAX_ATTRIBUTES: Final = 80
MAX_NAMESPACES: Final = 32
_DECLARATION: Final = re.compile(rb'<\?xml version="1\.0"(?: encoding="(?:UTF-8|utf-8)")?\?>')
_PLAIN: Final = re.compile(rb"[\n\x20-\x25\x27-\x7e]*")
_XML: Final = "{http://www.w3.org/XML/1998/namespace}"


def parse_xml(data: bytes, name: str) -> etree._Element:
    """The root element of `data`. Raises `MalformedEvidence` for anything outside the subset or the limits."""
    if not 0 < len(data) <= MAX_XML_BYTES:
        raise malformed(f"{name} size", len(data), f"1..{MAX_XML_BYTES}")
    declared = _DECLARATION.match(data)
    body = data[declared.end() :] if declared else data
    if not _PLAIN.fullmatch(body) or b"<!" in body or b"<?" in body:
        raise malformed(name, "more than elements and plain text", "no document type, entity, comment or instruction")
    if (namespaces := body.count(b"xmlns")) > MAX_NAMESPACES:
        raise malformed(f"{name} namespaces", namespaces, f"at most {MAX_NAMESPACES}")
    try:
        root = etree.fromstring(body, _parser())
    except (etree.XMLSyntaxError, ValueError):
        raise malformed(name, "not well-formed", "XML") from None
    _check_tree(root, name)
    return root


def canonical(element: etree._Element, name: str) -> bytes:
    """The inclusive canonical form (Canonical XML 1.0, equal to 1.1 without `xml:` attributes), without comments.

    Raises `MalformedEvidence` for what has none, such as a namespace with a relative name.
    """
    try:
        return etree.tostring(element, method="c14n", exclusive=False, with_comments=False)
    except etree.C14NError:
        raise malformed(name, "without a canonical form", "absolute namespace names") from None


def malformed(name: str, got: object, want: str) -> MalformedEvidence:
    """The error of one field."""
    return MalformedEvidence(Reason.MALFORMED, f"{name} is {got}, want {want}")


def _parser() -> etree.XMLParser:
    # A parser per document: libxml2's keep state, and threads would wait for one another.
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=False,
        collect_ids=False,
    )


def _check_tree(root: etree._Element, name: str) -> None:
    count = 0
    level: list[etree._Element] = [root]
    for _ in range(MAX_DEPTH):
        count += len(level)
        for element in level:
            if len(element.attrib) > MAX_ATTRIBUTES or any(str(key).startswith(_XML) for key in element.attrib):
                raise malformed(f"{name} attributes", "too many, or of xml:", f"at most {MAX_ATTRIBUTES}, none of xml:")
        level = [child for element in level for child in element]
        if count + len(level) > MAX_ELEMENTS:
            break
    if level:
        raise malformed(f"{name} elements", "too many or too deep", f"{MAX_ELEMENTS} in {MAX_DEPTH} levels")
