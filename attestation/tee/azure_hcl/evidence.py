# SPDX-License-Identifier: Apache-2.0
"""The evidence of an Azure confidential VM, "azure-hcl-v1": the paravisor's report and a quote of its vTPM.

    {0:"sealbid/azure-hcl/1", 1:hcl report bstr 1..8192 (NV index 0x01400001), 2:attest bstr 1..1024 (TPMS_ATTEST),
     3:signature bstr 1..1024 (TPMT_SIGNATURE), 4:[[pcr uint 0..23, value bstr(32|48)],..] ascending,
     5:td quote bstr 0..16384 (from Azure's metadata service; empty on SEV-SNP)}

Deterministic CBOR. The hardware's own endorsements travel as collateral, as for evidence of that hardware.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from attestation.codec import cbor
from attestation.codec.fields import array, octets, uint
from attestation.errors import Malformed, MalformedEvidence
from attestation.tee.azure_hcl.hcl import MAX_HCL_BYTES
from attestation.tee.tpm.attest import MAX_ATTEST_BYTES, PCR_COUNT
from attestation.tee.tpm.signature import MAX_SIGNATURE_BYTES

EVIDENCE_FORMAT: Final = "azure-hcl-v1"
MAX_QUOTE_BYTES: Final = 16 << 10
_LABEL: Final = "sealbid/azure-hcl/1"
_PCR_SIZES: Final = frozenset({32, 48})


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureHCLEvidence:
    """The parts as they lie in the evidence; nothing of them is parsed or verified."""

    hcl_report: bytes
    attest: bytes
    signature: bytes
    pcrs: Mapping[int, bytes]
    td_quote: bytes

    def encode(self) -> bytes:
        """The canonical bytes."""
        pcrs: list[cbor.Item] = [[index, self.pcrs[index]] for index in sorted(self.pcrs)]
        return cbor.encode_map(_LABEL, self.hcl_report, self.attest, self.signature, pcrs, self.td_quote)


def read_evidence(data: bytes) -> AzureHCLEvidence:
    """The parts of exactly these bytes. Raises `MalformedEvidence`."""
    try:
        fields = cbor.decode_map(data, _LABEL, 6)
        return AzureHCLEvidence(
            hcl_report=octets(fields[1], "azure.hcl_report", maximum=MAX_HCL_BYTES),
            attest=octets(fields[2], "azure.attest", maximum=MAX_ATTEST_BYTES),
            signature=octets(fields[3], "azure.signature", maximum=MAX_SIGNATURE_BYTES),
            pcrs=_pcrs(fields[4]),
            td_quote=octets(fields[5], "azure.td_quote", maximum=MAX_QUOTE_BYTES),
        )
    except Malformed as error:
        raise MalformedEvidence(error.reason, error.message) from None


def _pcrs(item: cbor.Item) -> Mapping[int, bytes]:
    pairs = [array(entry, "azure.pcr", 2) for entry in array(item, "azure.pcrs", PCR_COUNT)]
    if any(len(pair) != 2 for pair in pairs):
        raise Malformed("azure.pcr is not an index with its value")
    values = [(uint(pair[0], "azure.pcr index", PCR_COUNT - 1), octets(pair[1], "azure.pcr value")) for pair in pairs]
    if any(a >= b for (a, _), (b, _) in pairwise(values)):
        raise Malformed("azure.pcrs is not ascending and unique")
    if any(len(value) not in _PCR_SIZES for _, value in values):
        raise Malformed("azure.pcr value is not of 32 or 48 bytes")
    return dict(values)
