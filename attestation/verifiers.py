# SPDX-License-Identifier: Apache-2.0
"""Which kinds of evidence a process of a profile can verify; the composition roots hand the result on.

Under a production policy the SIMULATED verifier is not even imported, so such a process has no way to find simulated
evidence genuine, whatever its settings say and however its policy file is named.
"""

from attestation.binding import Profile
from attestation.claims import TEEKind
from attestation.tee.interface import Verifiers


def verifiers_for(profile: Profile) -> Verifiers:
    """The verifiers a process of this profile has: none but SIMULATED exist yet, and that only for development."""
    if profile is Profile.PRODUCTION:
        return {}
    from attestation.simulated.verifier import SimulatedVerifier  # absent from production images

    return {TEEKind.SIMULATED: SimulatedVerifier()}
