# SPDX-License-Identifier: Apache-2.0
"""The protocol's element types: size on the wire, list of typed contents, number in a model configuration.

FP16 and BF16 have no list of typed contents in the protocol: their elements travel raw only. BYTES elements have no
fixed size: raw, each follows its length as a little-endian u32; every other type is raw little-endian without padding.
"""

from dataclasses import dataclass

BYTES = "BYTES"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTypeFacts:
    """What the protocol fixes about one element type."""

    name: str
    size: int  # bytes of one raw element; 0 when elements carry their own length
    contents: str | None  # the field of InferTensorContents, or None where only raw elements exist
    config: int  # inference.DataType
    low: int = 0  # the least and the greatest value, where the typed list is wider than the type
    high: int = 0


_FACTS = (
    DataTypeFacts(name="BOOL", size=1, contents="bool_contents", config=1),
    DataTypeFacts(name="UINT8", size=1, contents="uint_contents", config=2, high=2**8 - 1),
    DataTypeFacts(name="UINT16", size=2, contents="uint_contents", config=3, high=2**16 - 1),
    DataTypeFacts(name="UINT32", size=4, contents="uint_contents", config=4),
    DataTypeFacts(name="UINT64", size=8, contents="uint64_contents", config=5),
    DataTypeFacts(name="INT8", size=1, contents="int_contents", config=6, low=-(2**7), high=2**7 - 1),
    DataTypeFacts(name="INT16", size=2, contents="int_contents", config=7, low=-(2**15), high=2**15 - 1),
    DataTypeFacts(name="INT32", size=4, contents="int_contents", config=8),
    DataTypeFacts(name="INT64", size=8, contents="int64_contents", config=9),
    DataTypeFacts(name="FP16", size=2, contents=None, config=10),
    DataTypeFacts(name="FP32", size=4, contents="fp32_contents", config=11),
    DataTypeFacts(name="FP64", size=8, contents="fp64_contents", config=12),
    DataTypeFacts(name=BYTES, size=0, contents="bytes_contents", config=13),
    DataTypeFacts(name="BF16", size=2, contents=None, config=14),
)

DATATYPES = {facts.name: facts for facts in _FACTS}
BY_CONFIG = {facts.config: facts for facts in _FACTS}
