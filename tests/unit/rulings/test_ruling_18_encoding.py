# SPDX-License-Identifier: Apache-2.0
"""Ruling 18 at the codec itself: one value has one encoding, whatever structure it belongs to."""

import pytest

from attestation.codec import cbor
from attestation.errors import Malformed

OTHER_SPELLINGS = {
    "key twice": "a201010102",
    "key twice with one value": "a201010101",
    "keys descending": "a202010101",
    "key above 23": "a1181801",
    "key that is no integer": "a1616101",
    "negative key": "a12001",
    "integer in two bytes instead of one": "1817",
    "integer in three bytes instead of two": "1900ff",
    "integer in five bytes instead of three": "1a0000ffff",
    "integer in nine bytes instead of five": "1b00000000ffffffff",
    "length in two bytes instead of one": "580100",
    "indefinite byte string": "5f4100ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf0101ff",
    "tag": "c001",
    "half float": "f93c00",
    "undefined": "f7",
    "simple value in two bytes": "f814",
    "text that is not utf-8": "61ff",
    "a byte after the item": "0100",
    "an item cut short": "4201",
    "nothing": "",
}


@pytest.mark.parametrize("name", OTHER_SPELLINGS)
def test_ruling_18_no_other_spelling_is_read(name: str) -> None:
    """What two implementations could read differently, or write differently, is malformed."""
    with pytest.raises(Malformed):
        cbor.decode(bytes.fromhex(OTHER_SPELLINGS[name]))


def test_ruling_18_keys_are_sorted_by_value() -> None:
    """The order of RFC 8949 4.2.1, whatever order a map was made in."""
    assert cbor.encode({2: 1, 0: 2, 23: 3}) == bytes.fromhex("a3000202011703")
