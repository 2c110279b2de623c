# SPDX-License-Identifier: Apache-2.0
"""Which TEEs this machine shows, by the device files their drivers make, and which attester a worker gets.

Seeing a device proves nothing; it only decides what to try. SIMULATED is never chosen by itself: it must be asked for
by name, and its evidence passes under development policies only.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from attestation.claims import TEEKind
from attestation.errors import SettingsError
from enclave.attesters.interface import Attester

_SIGNS: Final = (
    (TEEKind.TDX, "dev/tdx_guest"),
    (TEEKind.SNP, "dev/sev-guest"),
    (TEEKind.SGX, "dev/attestation/quote"),
    (TEEKind.TPM, "dev/tpmrm0"),
    (TEEKind.NVIDIA_GPU, "dev/nvidiactl"),
)


class AttesterChoice(StrEnum):
    """The setting that picks an attester."""

    AUTO = "auto"
    SIMULATED = "simulated"


def detect(root: Path = Path("/")) -> tuple[TEEKind, ...]:
    """The kinds of TEE whose device files exist below `root`. Opens none of them."""
    return tuple(kind for kind, path in _SIGNS if (root / path).exists())


def choose_attester(
    choice: AttesterChoice, *, found: tuple[TEEKind, ...], simulated: Callable[[], Attester]
) -> Attester:
    """The attester for `choice` on a machine that shows `found`.

    Raises:
        SettingsError: `auto`, and nothing found has an attester in this version.
    """
    if choice is AttesterChoice.SIMULATED:
        return simulated()
    names = ", ".join(kind.value for kind in found) or "none"
    raise SettingsError(
        f"attester is auto with devices of {names}, want a kind this version can attest; simulated must be named"
    )
