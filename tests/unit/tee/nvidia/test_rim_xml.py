# SPDX-License-Identifier: Apache-2.0
"""The XML subset: bombs, entities, encodings and depth are refused before or within fixed bounds."""

import threading
from datetime import datetime
from pathlib import Path

import pytest

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.nvidia.rim import read_rim
from attestation.tee.nvidia.rim_xml import MAX_ATTRIBUTES, MAX_DEPTH, MAX_ELEMENTS, MAX_XML_BYTES, canonical, parse_xml
from tests.support.fake_nvidia_rim import MADE, RIMMaker, document, resource_lines

MAKER = RIMMaker()
LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))

BOMBS = {
    "billion laughs": b'<!DOCTYPE a [<!ENTITY l0 "ha">' + LAUGHS + b"]><a>&l9;</a>",
    "quadratic blowup": b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 50_000 + b'">]><a>' + b"&b;" * 10_000 + b"</a>",
    "external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
    "parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/x"> %x;]><a/>',
    "external document type": b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>',
    "default attribute": b'<!DOCTYPE a [<!ATTLIST a active CDATA "True">]><a/>',
    "document type after a declaration": b'<?xml version="1.0"?><!DOCTYPE a><a/>',
    "character reference": b"<a>&#65;</a>",
    "known entity": b"<a>&amp;</a>",
    "comment": b"<a><!-- x --></a>",
    "character data": b"<a><![CDATA[x]]></a>",
    "instruction": b"<a><?php x?></a>",
    "stylesheet": b'<?xml-stylesheet href="x"?><a/>',
    "late declaration": b'\n<?xml version="1.0"?><a/>',
    "standalone declaration": b'<?xml version="1.0" standalone="yes"?><a/>',
    "xml 1.1": b'<?xml version="1.1"?><a/>',
    "another encoding": b'<?xml version="1.0" encoding="UTF-7"?><a/>',
    "utf-16": "<a/>".encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf<a/>",
    "letters beyond ASCII": "<a>é</a>".encode(),
    "null": b"<a>\0</a>",
    "carriage return": b"<a>\r\n</a>",
    "tab": b"<a\tb='1'/>",
    "xml attribute": b'<a xml:lang="en"/>',
    "xml attribute below": b'<a><b xml:space="preserve"/></a>',
    "empty": b"",
    "no element": b"plain",
    "two roots": b"<a/><a/>",
    "unclosed": b"<a>",
    "unknown prefix": b"<x:a/>",
    "attribute twice": b"<a b='1' b='2'/>",
}


@pytest.mark.parametrize("data", BOMBS.values(), ids=list(BOMBS))
def test_what_a_manifest_never_holds_is_malformed(data: bytes) -> None:
    """Document types, entities, comments, other encodings and broken XML are one named error."""
    with pytest.raises(MalformedEvidence) as refused:
        parse_xml(data, "rim")
    assert refused.value.reason is Reason.MALFORMED


def test_an_external_entity_reads_nothing(tmp_path: Path) -> None:
    """A manifest cannot make the verifier open a file, not even one it would only name in its error."""
    secret = tmp_path / "secret"
    secret.write_text("1f7a")
    data = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><a>&x;</a>'.encode()
    with pytest.raises(MalformedEvidence) as refused:
        parse_xml(data, "rim")
    assert "1f7a" not in refused.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
        b"<a>" * 20_000 + b"</a>" * 10_000,
        b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
        b"<a>" + b"<b/>" * 30_000 + b"</a>",
        b"<a " + b" ".join(b"a%d='1'" % n for n in range(MAX_ATTRIBUTES + 1)) + b"/>",
        b"<a " + b" ".join(b"a%d=''" % n for n in range(12_000)) + b"/>",
        b"<a " + b" ".join(b"xmlns:a%d='x'" % n for n in range(7_000)) + b"/>",
        b"<a>" + b" " * MAX_XML_BYTES + b"</a>",
    ],
    ids=["deep", "very deep", "many", "very many", "attributes", "many attributes", "namespaces", "large"],
)
def test_limits_hold(data: bytes) -> None:
    """One more than a limit, or a hundred times more, is refused."""
    with pytest.raises(MalformedEvidence):
        parse_xml(data, "rim")


def test_just_below_the_limits_is_read() -> None:
    """The limits are no smaller than they say."""
    deep = b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH
    wide = b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>"
    many = b"<a " + b" ".join(b"a%d='1'" % n for n in range(MAX_ATTRIBUTES)) + b"/>"
    large = b"<a>" + b" " * (MAX_XML_BYTES - 7) + b"</a>"
    for data in (deep, wide, many, large, b'<?xml version="1.0" encoding="UTF-8"?>\n<a/>\n'):
        assert parse_xml(data, "rim").tag == "a"


def test_canonical_form_sorts_and_expands() -> None:
    """Attribute order, quotes and empty elements do not matter to what is digested; namespaces in scope do."""
    one = parse_xml(b"<a xmlns:n='urn:n'><b z='1'  a='2'/></a>", "rim")
    other = parse_xml(b'<a xmlns:n="urn:n"><b a="2" z="1"></b></a>', "rim")
    assert canonical(one, "rim") == canonical(other, "rim") == b'<a xmlns:n="urn:n"><b a="2" z="1"></b></a>'
    assert canonical(one[0], "rim") == b'<b xmlns:n="urn:n" a="2" z="1"></b>'


def test_a_document_without_a_canonical_form_is_malformed() -> None:
    """A namespace with a relative name has no canonical form, which is an error of the document."""
    with pytest.raises(MalformedEvidence):
        canonical(parse_xml(b"<a xmlns='relative'/>", "rim"), "rim")


def test_signed_content_is_read_through_the_same_subset() -> None:
    """What canonicalization turns into an entity is refused there, though a signature covers it."""
    meta = {
        "edition": "GPU",
        "product": "GH100",
        "colloquialVersion": "999.1",
        "PayloadType": "direct",
        "revision": "r1",
    }
    text = document(meta, resource_lines({1: [bytes(48)]}), {}).replace("role=", "note='a\"b' role=")
    with pytest.raises(MalformedEvidence):
        read_rim(MAKER.sign(text), roots=MAKER.roots)


def test_threads_may_read_at_once() -> None:
    """Many threads read manifests at a time with the same outcome as one."""
    rim = MAKER.rim()
    seen: list[datetime] = []

    def read() -> None:
        seen.extend(read_rim(rim, roots=MAKER.roots).valid_from for _ in range(5))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [MADE] * 20
