# SPDX-License-Identifier: Apache-2.0
"""How gateways become known: their keys enter the log once, and are handed out with proofs (docs/spec.md, 3.6)."""

from collections.abc import Sequence
from datetime import datetime

from attestation.certificate import pinnable_spki_sha256, spki_sha256
from attestation.errors import NotGenuine, Reason
from attestation.identity import gateway_id_of
from attestation.rates import Rates
from attestation.registration import check_enrolment
from attestation.registry.gateways import SIGNING_USE, TLS_USE, LoggedGateway
from attestation.registry.journal import Journal
from attestation.registry.store import RegistryStore, StoredGateway
from attestation.tlog import entry as entries


class Enrolment:
    """The gateways of one registry. Blocks on disk; any thread."""

    def __init__(self, *, store: RegistryStore, journal: Journal, rates: Rates) -> None:
        self._store = store
        self._journal = journal
        self._rates = rates

    def enrol(
        self, *, signing_key: bytes, certificate_der: bytes, enrolment: bytes, by: str, now: datetime
    ) -> LoggedGateway:
        """Logs a gateway's keys; the same keys again change nothing. Raises as `Registry.enrol_gateway`."""
        tls_key = pinnable_spki_sha256(certificate_der)
        check_enrolment(enrolment, signing_key, certificate_der)
        gateway_id = gateway_id_of(signing_key)
        enrolled = {gateway.gateway_id: gateway for gateway in self._store.gateways()}
        known = enrolled.pop(gateway_id, None)
        if any(spki_sha256(other.certificate_der) == tls_key for other in enrolled.values()):
            # Certificates are public: workers would take the links of the one gateway for those of the other.
            raise NotGenuine(Reason.KEYSET_MISMATCH, f"certificate key is {tls_key.hex()}, want no other gateway's")
        if known is None or known.certificate_der != certificate_der:
            self._rates.take(by, now)
            added = [
                entries.key_add(use=use, key=key, subject=gateway_id, by=by, at=now)
                for use, key in ((SIGNING_USE, signing_key), (TLS_USE, tls_key))
            ]
            first = self._journal.write(added, now)
            known = StoredGateway(
                gateway_id=gateway_id,
                signing_key=signing_key,
                certificate_der=certificate_der,
                key_index=first,
                key_entry=added[0].encoded,
                tls_index=first + 1,
                tls_entry=added[1].encoded,
            )
            self._store.put_gateway(known)
        return self._logged(known)

    def gateways(self) -> Sequence[LoggedGateway]:
        """Every enrolled gateway, with proofs under the newest checkpoint."""
        return [self._logged(gateway) for gateway in self._store.gateways()]

    def _logged(self, gateway: StoredGateway) -> LoggedGateway:
        return LoggedGateway(
            gateway_id=gateway.gateway_id,
            signing_key=gateway.signing_key,
            certificate_der=gateway.certificate_der,
            key_entry=gateway.key_entry,
            key_proof=self._journal.proof(gateway.key_index),
            tls_entry=gateway.tls_entry,
            tls_proof=self._journal.proof(gateway.tls_index),
        )
