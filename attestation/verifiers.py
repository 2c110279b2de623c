# SPDX-License-Identifier: Apache-2.0
"""Which kinds of evidence a process of a profile can verify; the composition roots hand the result on.

Registry, gateway and auditor all take their verifiers from here, so one code path decides everywhere. Under a
production policy the SIMULATED verifier is not even imported, so such a process has no way to find simulated evidence
genuine, whatever its settings say and however its policy file is named.
"""

from attestation.binding import Profile
from attestation.claims import TEEKind
from attestation.tee.azure_hcl.verifier import AzureHCLVerifier
from attestation.tee.dcap.verifier import SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifier, Verifiers
from attestation.tee.nvidia.verifier import NVIDIASwitchVerifier, NVIDIAVerifier
from attestation.tee.snp.verifier import SNPVerifier
from attestation.tee.tpm.verifier import TPMVerifier


def verifiers_for(profile: Profile) -> Verifiers:
    """The verifiers a process of this profile has: every real kind, and SIMULATED for development only.

    Each keeps bounded caches of chains and manifests it verified, so a process makes them once.
    """
    tdx, snp = TDXVerifier(), SNPVerifier()
    real: dict[TEEKind, Verifier] = {
        TEEKind.TDX: tdx,
        TEEKind.SGX: SGXVerifier(),
        TEEKind.SNP: snp,
        TEEKind.AZURE_HCL: AzureHCLVerifier(snp=snp, tdx=tdx),
        TEEKind.TPM: TPMVerifier(),
        TEEKind.NVIDIA_GPU: NVIDIAVerifier(),
        TEEKind.NVIDIA_SWITCH: NVIDIASwitchVerifier(),
    }
    if profile is Profile.PRODUCTION:
        return real
    from attestation.simulated.verifier import SimulatedVerifier  # absent from production images

    return real | {TEEKind.SIMULATED: SimulatedVerifier()}
