# SPDX-License-Identifier: Apache-2.0
"""The evidence of a TPM, "tpm-quote-v1": a quote and what is needed to check it, in deterministic CBOR.

    {0:"sealbid/tpm-quote/1", 1:attest bstr 1..1024 (TPMS_ATTEST), 2:signature bstr 1..1024 (TPMT_SIGNATURE),
     3:ak bstr 1..1024 (TPMT_PUBLIC), 4:ek certificate bstr 0..16384 (DER), 5:[[pcr uint 0..23, value bstr(32|48)],..]
     ascending, 6:activation bstr(32 | 0)}

Without an EK certificate nothing says whose TPM it is (ENDORSEMENT_MISSING). `activation` answers the credential that
came with the challenge (`attestation.tee.tpm.credential`); it is empty where none came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import array, octets, uint
from attestation.errors import Malformed, MalformedEvidence
from attestation.tee.certificates import MAX_CERTIFICATE_BYTES
from attestation.tee.tpm.attest import MAX_ATTEST_BYTES, PCR_COUNT
from attestation.tee.tpm.credential import PROOF_BYTES
from attestation.tee.tpm.public import MAX_PUBLIC_BYTES
from attestation.tee.tpm.signature import MAX_SIGNATURE_BYTES

EVIDENCE_FORMAT: Final = "tpm-quote-v1"
_LABEL: Final = "sealbid/tpm-quote/1"
_PCR_SIZES: Final = frozenset({32, 48})


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMEvidence:
    """The parts as they lie in the evidence; nothing of them is parsed or verified."""

    attest: bytes
    signature: bytes
    ak: bytes
    ek_certificate: bytes
    pcrs: Mapping[int, bytes]
    activation: bytes

    def encode(self) -> bytes:
        """The canonical bytes."""
        pcrs: list[cbor.Item] = [[index, self.pcrs[index]] for index in sorted(self.pcrs)]
        return cbor.encode_map(_LABEL, self.attest, self.signature, self.ak, self.ek_certificate, pcrs, self.activation)


def read_evidence(data: bytes) -> TPMEvidence:
    """The parts of exactly these bytes. Raises `MalformedEvidence`."""
    try:
        fields = cbor.decode_map(data, _LABEL, 7)
        return TPMEvidence(
            attest=octets(fields[1], "tpm.attest", maximum=MAX_ATTEST_BYTES),
            signature=octets(fields[2], "tpm.signature", maximum=MAX_SIGNATURE_BYTES),
            ak=octets(fields[3], "tpm.ak", maximum=MAX_PUBLIC_BYTES),
            ek_certificate=octets(fields[4], "tpm.ek_certificate", maximum=MAX_CERTIFICATE_BYTES),
            pcrs=_pcrs(fields[5]),
            activation=_activation(fields[6]),
        )
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None


def _pcrs(item: cbor.Item) -> Mapping[int, bytes]:
    pairs = [array(entry, "tpm.pcr", 2) for entry in array(item, "tpm.pcrs", PCR_COUNT)]
    if any(len(pair) != 2 for pair in pairs):
        raise Malformed("tpm.pcr is not an index with its value")
    values = [(uint(pair[0], "tpm.pcr index", PCR_COUNT - 1), octets(pair[1], "tpm.pcr value")) for pair in pairs]
    if any(a >= b for (a, _), (b, _) in pairwise(values)):
        raise Malformed("tpm.pcrs is not ascending and unique")
    if any(len(value) not in _PCR_SIZES for _, value in values):
        raise Malformed("tpm.pcr value is not of 32 or 48 bytes")
    return dict(values)


def _activation(item: cbor.Item) -> bytes:
    value = octets(item, "tpm.activation")
    if len(value) not in {0, PROOF_BYTES}:
        raise Malformed(f"tpm.activation has {len(value)} bytes, want 0 or {PROOF_BYTES}")
    return value
