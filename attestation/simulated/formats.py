# SPDX-License-Identifier: Apache-2.0
"""SIMULATED evidence and collateral: bytes shaped like a quote and its TCB info, signed with published keys.

    evidence    COSE_Sign1(platform key, "simulated-evidence") over {0:"sealbid/simulated-evidence/1",
                1:[[component kind tstr, id bstr 8..64],..] 1..32 ascending, 2:measurement sha384 bstr(48),
                3:debug bool, 4:security version uint, 5:report_data bstr(64)}
    collateral  COSE_Sign1(vendor key, "simulated-tcb") over {0:"sealbid/simulated-tcb/1", 1:issued, 2:expires,
                3:least current version uint, 4:least supported version uint}

Anyone can sign with these keys, by design. A signature here proves nothing about any machine.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestation.claims import ComponentID, ComponentKind
from attestation.codec import cbor, cose
from attestation.codec.fields import array, octets, text, uint
from attestation.errors import Malformed

EVIDENCE_FORMAT: Final = "sealbid-simulated-v1"
COLLATERAL_KIND: Final = "simulated-tcb"
MAX_COMPONENTS: Final = 32
DEVELOPMENT_MEASUREMENT: Final = hashlib.sha384(b"sealbid SIMULATED worker image 1").digest()
"""What the SIMULATED worker image of this version measures to, as manifests/policies/development.toml lists it."""

_EVIDENCE, _TCB = "sealbid/simulated-evidence/1", "sealbid/simulated-tcb/1"
_MAX_TIME: Final = 253_402_300_799

# These two private keys are published here, in the clear, on purpose: SIMULATED evidence protects nothing. They stand
# where a real TEE has a key fused into silicon and a vendor has a signing service.
_PLATFORM_KEY: Final = Ed25519PrivateKey.from_private_bytes(
    hashlib.sha256(b"sealbid SIMULATED platform key, in the clear, protects nothing").digest()
)
_VENDOR_KEY: Final = Ed25519PrivateKey.from_private_bytes(
    hashlib.sha256(b"sealbid SIMULATED vendor key, in the clear, protects nothing").digest()
)
_PLATFORM_PUBLIC: Final = _PLATFORM_KEY.public_key().public_bytes_raw()
_VENDOR_PUBLIC: Final = _VENDOR_KEY.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedQuote:
    """What a SIMULATED platform states about itself."""

    components: tuple[ComponentID, ...]
    measurement: bytes
    debug: bool
    security_version: int
    report_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTCB:
    """What the SIMULATED vendor states about security versions, between two moments."""

    issued: datetime
    expires: datetime
    current: int
    supported: int


def sign_quote(quote: SimulatedQuote) -> bytes:
    """The evidence bytes of a SIMULATED platform."""
    return cose.sign(
        _PLATFORM_KEY,
        "simulated-evidence",
        cbor.encode(
            {
                0: _EVIDENCE,
                1: [[component.kind.value, component.value] for component in sorted(quote.components)],
                2: quote.measurement,
                3: quote.debug,
                4: quote.security_version,
                5: quote.report_data,
            }
        ),
    )


def open_quote(data: bytes) -> SimulatedQuote:
    """The statement inside SIMULATED evidence. Raises `Malformed` or `NotGenuine` (SIGNATURE_INVALID)."""
    fields = cbor.decode_map(cose.verify(data, _PLATFORM_PUBLIC, "simulated-evidence"), _EVIDENCE, 6)
    components = tuple(_component(item) for item in array(fields[1], "simulated.components", MAX_COMPONENTS))
    if not components or any(a >= b for a, b in pairwise(components)):
        raise Malformed("simulated.components is not ascending, unique and non-empty")
    if not isinstance(fields[3], bool):
        raise Malformed("simulated.debug is not a boolean")
    return SimulatedQuote(
        components=components,
        measurement=octets(fields[2], "simulated.measurement", 48),
        debug=fields[3],
        security_version=uint(fields[4], "simulated.security_version"),
        report_data=octets(fields[5], "simulated.report_data", 64),
    )


def sign_tcb(tcb: SimulatedTCB) -> bytes:
    """The collateral bytes of the SIMULATED vendor."""
    issued, expires = int(tcb.issued.timestamp()), int(tcb.expires.timestamp())
    body: dict[int, cbor.Item] = {0: _TCB, 1: issued, 2: expires, 3: tcb.current, 4: tcb.supported}
    return cose.sign(_VENDOR_KEY, "simulated-tcb", cbor.encode(body))


def open_tcb(data: bytes) -> SimulatedTCB:
    """The statement inside SIMULATED collateral. Raises `Malformed` or `NotGenuine`; does not check its validity."""
    fields = cbor.decode_map(cose.verify(data, _VENDOR_PUBLIC, "simulated-tcb"), _TCB, 5)
    return SimulatedTCB(
        issued=datetime.fromtimestamp(uint(fields[1], "simulated_tcb.issued", _MAX_TIME), UTC),
        expires=datetime.fromtimestamp(uint(fields[2], "simulated_tcb.expires", _MAX_TIME), UTC),
        current=uint(fields[3], "simulated_tcb.current"),
        supported=uint(fields[4], "simulated_tcb.supported"),
    )


def _component(item: cbor.Item) -> ComponentID:
    parts = array(item, "simulated.component", 2)
    if len(parts) != 2:
        raise Malformed(f"simulated.component has {len(parts)} fields, want 2")
    kind, value = text(parts[0], "simulated.component kind"), octets(parts[1], "simulated.component id", maximum=64)
    if kind not in set(ComponentKind) or len(value) < 8:
        raise Malformed("simulated.component is not a known kind with an id of 8..64 bytes")
    return ComponentID(kind=ComponentKind(kind), value=value)
