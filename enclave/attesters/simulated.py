# SPDX-License-Identifier: Apache-2.0
"""SIMULATED: an attester made of a key in the clear, for development. Its evidence proves nothing about any machine."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from attestation.binding import KeyBinding, Profile
from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentID, TEEKind
from attestation.simulated.formats import (
    COLLATERAL_KIND,
    DEVELOPMENT_MEASUREMENT,
    EVIDENCE_FORMAT,
    SimulatedQuote,
    SimulatedTCB,
    sign_quote,
    sign_tcb,
)
from enclave.attesters.interface import Quoted

CURRENT_SECURITY_VERSION: Final = 2
SUPPORTED_SECURITY_VERSION: Final = 1
_TCB_LIFETIME: Final = timedelta(days=7)


class SimulatedAttester:
    """An `Attester` that says whatever it is told to say, and says SIMULATED with it."""

    profile: Final = Profile.DEVELOPMENT

    def __init__(
        self,
        *,
        components: Sequence[ComponentID],
        measurement: bytes = DEVELOPMENT_MEASUREMENT,
        debug: bool = False,
        security_version: int = CURRENT_SECURITY_VERSION,
    ) -> None:
        self._components = tuple(components)
        self._measurement = measurement
        self._debug = debug
        self._security_version = security_version

    def devices(self, nonce: bytes) -> Quoted:  # a simulated machine has no devices to ask
        """No reports."""
        return Quoted(evidence=(), collateral=())

    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        """SIMULATED evidence, with SIMULATED collateral that is valid for a week."""
        quote = SimulatedQuote(
            components=self._components,
            measurement=self._measurement,
            debug=self._debug,
            security_version=self._security_version,
            report_data=binding.report_data(),
        )
        tcb = SimulatedTCB(
            issued=now - timedelta(hours=1),
            expires=now + _TCB_LIFETIME,
            current=CURRENT_SECURITY_VERSION,
            supported=SUPPORTED_SECURITY_VERSION,
        )
        return Quoted(
            evidence=(Evidence(kind=TEEKind.SIMULATED, format=EVIDENCE_FORMAT, data=sign_quote(quote)),),
            collateral=(Collateral(kind=COLLATERAL_KIND, data=sign_tcb(tcb)),),
        )
