# SPDX-License-Identifier: Apache-2.0
"""The kinds of collateral that some verifier reads (docs/spec.md, 3.4).

Whoever fills a bundle chooses the names of what is in it: of other kinds nothing is kept when a bundle is completed.
"""

from typing import Final

from attestation.tee.dcap.endorsements import COLLATERAL_KIND as INTEL
from attestation.tee.eventlog.dstack import LOG_KIND as DSTACK_LOG
from attestation.tee.eventlog.tcg2 import LOG_KIND as FIRMWARE_LOG
from attestation.tee.nvidia.endorsements import CHAIN_KIND, RIM_KIND
from attestation.tee.nvidia.standing import CRL_KIND, OCSP_KIND
from attestation.tee.snp.endorsement import CERTIFICATE_KIND as AMD_CERTIFICATE
from attestation.tee.snp.endorsement import CRL_KIND as AMD_CRL
from attestation.tee.tpm.endorsement import CERTIFICATE as TPM_CERTIFICATE
from attestation.tee.tpm.endorsement import CRL as TPM_CRL

_SIMULATED: Final = "simulated-tcb"
"""Written out: what simulates evidence is no part of a production image."""

KINDS: Final = frozenset(
    {
        INTEL,
        AMD_CERTIFICATE,
        AMD_CRL,
        CHAIN_KIND,
        RIM_KIND,
        OCSP_KIND,
        CRL_KIND,
        TPM_CERTIFICATE,
        TPM_CRL,
        DSTACK_LOG,
        FIRMWARE_LOG,
        _SIMULATED,
    }
)
