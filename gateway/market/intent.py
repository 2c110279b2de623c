# SPDX-License-Identifier: Apache-2.0
"""A caller's intent: the limits one request is auctioned under, never widened (docs/spec.md, 8.2).

    intent = {0:"sealbid/intent/1", 1:model tstr, 2:tier tstr, 3:max price u64 nUSD per 1,000 WU, 4:[region tstr, ..]
              ascending, unique (empty: any), 5:policy digest, 6:wu_cap u64, 7:max total u64 nUSD, 8:deadline ms u32,
              9:context u32}
    intent_sha256 = H(L("intent") || intent)           the `intent digest` of a sealed header

Refused: regions out of order, a cap of no work units, values beyond what sums can hold.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import U32_MAX, array, octets, text, uint
from attestation.codec.labels import DIGEST_BYTES, labelled_sha256
from attestation.errors import Malformed, Reason
from gateway.market.offers import check_model, check_region, check_tier

LABEL: Final = "sealbid/intent/1"
MAX_TOTAL_NANOS: Final = 10**18
MAX_WORK_UNITS: Final = 10**12
MAX_REGIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a caller wants and the most it may cost. `encoded` and `sha256` are derived once, at construction."""

    model: str
    tier: str
    max_price_nanos: int
    """Per 1,000 work units, platform fee included."""
    regions: tuple[str, ...]
    """Ascending; empty means any region."""
    policy_sha256: bytes
    """The appraisal policy under which a worker must have been accepted."""
    wu_cap: int
    """The most work units the request can be metered at."""
    max_total_nanos: int
    """For the whole request, platform fee included."""
    deadline_ms: int
    context: int = 1
    """Rows of the batch, or tokens of context, the request needs."""
    encoded: bytes = field(init=False, repr=False, compare=False)
    sha256: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_model(self.model, "intent")
        check_tier(self.tier, "intent")
        for region in self.regions:
            check_region(region, "intent")
        if len(self.regions) > MAX_REGIONS or any(a >= b for a, b in pairwise(self.regions)):
            raise _invalid(f"intent regions are not at most {MAX_REGIONS}, ascending and unique")
        octets(self.policy_sha256, "intent policy_sha256", DIGEST_BYTES)
        uint(self.max_price_nanos, "intent max_price_nanos", MAX_TOTAL_NANOS)
        uint(self.max_total_nanos, "intent max_total_nanos", MAX_TOTAL_NANOS)
        uint(self.deadline_ms, "intent deadline_ms", U32_MAX)
        uint(self.context, "intent context", U32_MAX)
        if not 1 <= self.wu_cap <= MAX_WORK_UNITS:
            raise _invalid(f"intent wu_cap is {self.wu_cap}, want 1..{MAX_WORK_UNITS}")
        object.__setattr__(self, "encoded", self._encode())
        object.__setattr__(self, "sha256", labelled_sha256("intent", self.encoded))

    def _encode(self) -> bytes:
        return cbor.encode_map(
            LABEL,
            self.model,
            self.tier,
            self.max_price_nanos,
            self.regions,
            self.policy_sha256,
            self.wu_cap,
            self.max_total_nanos,
            self.deadline_ms,
            self.context,
        )

    @classmethod
    def decode(cls, data: bytes) -> "Intent":
        """The intent of exactly these bytes. Raises `Malformed`."""
        fields = cbor.decode_map(data, LABEL, 10)
        return cls(
            model=text(fields[1], "intent model"),
            tier=text(fields[2], "intent tier"),
            max_price_nanos=uint(fields[3], "intent max_price_nanos"),
            regions=tuple(text(item, "intent region") for item in array(fields[4], "intent regions", MAX_REGIONS)),
            policy_sha256=octets(fields[5], "intent policy_sha256", DIGEST_BYTES),
            wu_cap=uint(fields[6], "intent wu_cap"),
            max_total_nanos=uint(fields[7], "intent max_total_nanos"),
            deadline_ms=uint(fields[8], "intent deadline_ms"),
            context=uint(fields[9], "intent context"),
        )


def _invalid(message: str) -> Malformed:
    return Malformed(message, Reason.PARAMETER_INVALID)
