# SPDX-License-Identifier: Apache-2.0
"""Registration: challenge, evidence, verdict, lease; renewed at half its time with new keys (docs/spec.md, 3 and 4.7).

    propose keys → ask for a challenge → make evidence over both → register → check the lease → install the keys

The worker believes of the registry only what its trust root verifies: the lease must be signed by the lease key and be
about the keys just proposed, gateways must stand in the log. A registry that is down costs nothing while the lease
lasts; afterwards the worker refuses calls until there is a new one.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from attestation.binding import KeyBinding
from attestation.errors import Malformed, NotAcceptable, Reason, SealbidError
from attestation.lease import open_lease
from attestation.registry.gateways import LoggedGateway, verify_gateway
from attestation.registry.values import Activation, Refused, Registration, Verdict
from attestation.rpc.pinning import check_certificate
from attestation.tee.tpm.credential import AttestationKey
from attestation.trust import TrustRoot
from enclave.attesters.interface import ActivatedAttester, Attester, Duty, answer_challenge
from enclave.gateways import Gateways, KnownGateway
from enclave.keys import KeyCustody, Tenure
from enclave.metrics import Metrics

_LOG = logging.getLogger("enclave.onboarding")

FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 30.0
WATCH_SECONDS: Final = 1.0


class RegistryPort(Protocol):
    """The part of `RegistryClient` a worker uses. Every method may raise `SealbidError`."""

    async def issue_challenge(self) -> bytes: ...
    async def issue_activation(self, key: AttestationKey) -> Activation: ...
    async def register(self, registration: Registration) -> Verdict: ...
    async def list_gateways(self) -> tuple[LoggedGateway, ...]: ...


class Registrar:
    """Keeps one worker registered and its gateways known."""

    def __init__(
        self,
        *,
        registry: RegistryPort,
        custody: KeyCustody,
        attester: Attester,
        duty: Duty,
        trust: TrustRoot,
        endpoint: str,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        """`endpoint` is where gateways reach this worker, empty if it dials them."""
        self._registry = registry
        self._custody = custody
        self._attester = attester
        self._duty = duty
        self._trust = trust
        self._endpoint = endpoint
        self._metrics = metrics
        self._clock = clock

    async def register(self) -> Tenure:
        """One registration with new keys.

        Raises:
            NotAcceptable: the registry refused the evidence; carries its findings.
            SealbidError: anything else that stood in the way. The keys in use stay in use.
        """
        keyset = self._custody.propose()
        challenge = await self._challenge()
        bundle = await asyncio.to_thread(
            answer_challenge,
            challenge,
            keyset=keyset,
            duty=self._duty,
            attester=self._attester,
            now=self._clock(),
        )
        binding = KeyBinding.decode(bundle.binding)
        verdict = await self._registry.register(
            Registration(
                bundle=bundle,
                certificate_der=self._custody.tls.certificate_der,
                endpoint=self._endpoint,
                registration=self._custody.sign_registration(binding.digest, self._endpoint),
            )
        )
        if isinstance(verdict, Refused):
            raise NotAcceptable(verdict.reason, _findings(verdict), verdict.findings)
        lease = open_lease(verdict.presented.lease, self._trust.lease_key)
        return self._custody.install(binding, lease, now=self._clock())

    async def _challenge(self) -> bytes:
        """A challenge; with a TPM also its credential, which the attester opens for the evidence to come."""
        attester = self._attester
        if not isinstance(attester, ActivatedAttester):
            return await self._registry.issue_challenge()
        activation = await self._registry.issue_activation(await asyncio.to_thread(attester.attestation_key))
        await asyncio.to_thread(attester.activate, activation.credential)
        return activation.challenge

    async def keep(self) -> None:
        """Registers, and again at half of each lease or when keys must rotate early, until cancelled."""
        wait = FIRST_WAIT
        while True:
            try:
                tenure = await self.register()
            except SealbidError as error:
                self._refused(error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)
                continue
            wait = FIRST_WAIT
            self._metrics.leases.add("granted")
            _LOG.info("lease granted", extra=_facts(tenure))
            await self._half(tenure)

    async def know(self, gateways: Gateways, *, seconds: float) -> None:
        """Reads the list of gateways anew every so many seconds, until cancelled."""
        verified: dict[LoggedGateway, KnownGateway] = {}
        named: set[bytes] = set()
        told: Reason | None = None
        while True:
            try:
                logged = await self._registry.list_gateways()
            except SealbidError as error:
                if error.reason is not told:
                    extra = {"reason": error.reason.value, "text": error.message}
                    _LOG.warning("list of gateways not read, keeping the last", extra=extra)
                told = error.reason
            else:
                told = None
                verified = {item: found for item in logged if (found := verified.get(item) or self._verify(item))}
                gateways.replace(verified.values())
                for gateway_id in {item.gateway_id for item in verified.values()} - named:
                    _LOG.info("gateway known", extra={"gateway_id": gateway_id.hex()})
                named = {item.gateway_id for item in verified.values()}
            await asyncio.sleep(seconds)

    def _verify(self, gateway: LoggedGateway) -> KnownGateway | None:
        """The gateway, if the log holds its keys; one that does not verify is left out and named."""
        try:
            verify_gateway(gateway, trust=self._trust)
            spki = check_certificate(gateway.certificate_der)
        except SealbidError as error:
            extra = {"gateway_id": gateway.gateway_id.hex(), "reason": error.reason.value, "text": error.message}
            _LOG.warning("gateway refused", extra=extra)
            return None
        return KnownGateway(
            gateway_id=gateway.gateway_id,
            signing_key=gateway.signing_key,
            certificate_der=gateway.certificate_der,
            spki_sha256=spki,
        )

    async def _half(self, tenure: Tenure) -> None:
        """Half of what is left of the lease by the monotonic clock, or until the keys ask for rotation."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(1.0, (tenure.not_after - self._clock().timestamp()) / 2)
        while (left := due - loop.time()) > 0 and not self._custody.needs_rotation:
            await asyncio.sleep(min(WATCH_SECONDS, left))
            self._custody.sweep(self._clock())

    def _refused(self, error: SealbidError) -> None:
        refused = isinstance(error, NotAcceptable | Malformed)
        self._metrics.leases.add("refused" if refused else "failed")
        _LOG.warning("registration failed", extra={"reason": error.reason.value, "text": error.message})


def _findings(refused: Refused) -> str:
    """All findings in one line: every reason the evidence was refused for."""
    return "; ".join(f"{item.field} is {item.got}, want {item.want}" for item in refused.findings) or "refused"


def _facts(tenure: Tenure) -> dict[str, Sequence[str] | str | int]:
    return {
        "worker_id": tenure.keyset.worker_id.hex(),
        "keyset_id": tenure.keyset.keyset_id.hex(),
        "generation": tenure.keyset.generation,
        "not_after": tenure.not_after,
    }
