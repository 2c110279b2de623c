# SPDX-License-Identifier: Apache-2.0
"""The gateways a worker talks to: exactly those whose keys stand in the evidence log (docs/spec.md, 11.1).

The set is replaced as a whole when the registry's list was fetched and each entry's proof verified; TLS handshakes read
it from another thread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from attestation.errors import NotGenuine, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGateway:
    """A gateway whose log entry was verified: its signing key and the one certificate it may show."""

    gateway_id: bytes
    signing_key: bytes
    certificate_der: bytes
    spki_sha256: bytes


class Gateways:
    """The gateways known now."""

    def __init__(self, gateways: Iterable[KnownGateway] = ()) -> None:
        self._known: tuple[KnownGateway, ...] = tuple(gateways)

    def replace(self, gateways: Iterable[KnownGateway]) -> None:
        """Makes these the known ones, from the next handshake on."""
        self._known = tuple(gateways)

    def certificates(self) -> list[bytes]:
        """The certificates a handshake may show, DER. Safe to call from any thread."""
        return [gateway.certificate_der for gateway in self._known]

    def by_certificate(self, spki_sha256: bytes) -> KnownGateway:
        """Who showed a certificate of this key. Raises `NotGenuine` (UNAUTHENTICATED) for nobody known."""
        for gateway in self._known:
            if gateway.spki_sha256 == spki_sha256:
                return gateway
        raise NotGenuine(Reason.UNAUTHENTICATED, f"certificate key is {spki_sha256.hex()}, want one of a known gateway")

    def by_id(self, gateway_id: bytes) -> KnownGateway | None:
        """The gateway of this id, if it is known."""
        return next((gateway for gateway in self._known if gateway.gateway_id == gateway_id), None)

    def __len__(self) -> int:
        return len(self._known)
