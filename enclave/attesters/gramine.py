# SPDX-License-Identifier: Apache-2.0
"""Intel SGX through Gramine's pseudo-files (Gramine documentation, "Attestation and Secret Provisioning").

    /dev/attestation/attestation_type → user_report_data (64 bytes) → quote

The files belong to the enclave, so there is no other writer than this process, which asks from one thread at a time.
Only DCAP quotes are made. Written from that documentation; it has not run in an enclave yet.
"""

from datetime import datetime
from typing import Final

from attestation.binding import KeyBinding
from attestation.bundle import Evidence
from attestation.claims import TEEKind
from enclave.attesters.device import DeviceFailed, DeviceFiles, read_text
from enclave.attesters.interface import Quoted

FOLDER: Final = "dev/attestation"
MAX_QUOTE_BYTES: Final = 64 << 10
_REPORT_DATA: Final = slice(48 + 320, 48 + 320 + 64)
"""Where a quote of version 3 holds the enclave's report_data."""


class GramineQuoter:
    """Quotes of the enclave this process runs in."""

    def __init__(self, *, files: DeviceFiles) -> None:
        self._files = files

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """The quote over the binding's 64 bytes. Raises `DeviceFailed`."""
        data = binding.report_data()
        try:
            kind = read_text(self._files, f"{FOLDER}/attestation_type")
            if kind != "dcap":
                raise DeviceFailed(f"attestation type is {kind[:32]!r}, want dcap")
            self._files.write(f"{FOLDER}/user_report_data", data)
            quote = self._files.read(f"{FOLDER}/quote", MAX_QUOTE_BYTES)
        except OSError as error:
            raise DeviceFailed(f"gramine attestation is {error.strerror}, want a quote") from None
        if quote[_REPORT_DATA] != data:
            raise DeviceFailed("sgx quote is of other data, want the data asked for")
        return Quoted(evidence=(Evidence(kind=TEEKind.SGX, format="sgx-quote", data=quote),), collateral=())
