# SPDX-License-Identifier: Apache-2.0
"""Custody of every private key a worker has: made here at boot, used here, never written (docs/spec.md, 2 and 4.7).

    receipt key   Ed25519, for the boot: its digest is the worker's identity; signs only what has a method here
    TLS key       P-256, for the boot
    HPKE keys     one generation for each lease: proposed, attested, installed, retired ten minutes after the next one

A proposed generation opens nothing until its lease is installed; a lease that names other keys than those proposed is
refused. Nothing here has a serialisation or shows a key when printed. Erasing is best effort: objects are dropped, but
the libraries hand out immutable bytes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from attestation.binding import KeyBinding, Keyset, SuiteID, worker_id
from attestation.errors import NotGenuine, Reason, SealingError
from attestation.lease import Lease
from attestation.offer import Offer, Withdrawal, sign_offer, sign_withdrawal
from attestation.registration import sign_registration
from attestation.rpc.pinning import WORKER_NAME, TLSIdentity, make_identity
from attestation.sealing.batch import WORKER_HALF, sign_leaves
from attestation.sealing.errors_signed import SignedError, sign_error
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.incoming import IncomingCall, Offers, OpenedCall
from attestation.sealing.replay import RequestIDs
from attestation.sealing.rotation import KeyRing
from attestation.sealing.schedule import refuse_copy
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration, suites_of

SUITES: Final = (SuiteID.MLKEM768_X25519, SuiteID.X25519)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """One generation in use: what halves say of it, and the unix second at which it ends."""

    keyset: Keyset
    binding_digest: bytes
    not_after: int


class KeyCustody:
    """All private keys of one worker process, used from one event loop."""

    def __init__(self, *, suites: Sequence[SuiteID] = SUITES) -> None:
        self._receipt = Ed25519PrivateKey.generate()
        self.worker_id: Final = worker_id(self._receipt.public_key().public_bytes_raw())
        self.tls: Final[TLSIdentity] = make_identity(self.worker_id.hex()[:16], WORKER_NAME)
        self._suites = tuple(suites)
        self._generation = 0
        self._proposed: KeyGeneration | None = None
        self._ring = KeyRing(seen=RequestIDs())
        self._tenures: dict[bytes, Tenure] = {}
        self._rotation = asyncio.Event()

    @override
    def __repr__(self) -> str:
        return f"KeyCustody(worker_id={self.worker_id.hex()}, generation={self._generation})"

    __reduce__ = refuse_copy

    def propose(self) -> Keyset:
        """The keyset of a fresh generation, to be attested; it replaces one proposed and not installed."""
        self.withdraw()
        pairs = [HPKEKeyPair.generate(suite) for suite in self._suites]
        self._generation += 1
        keyset = Keyset(
            suites=suites_of(pairs),
            receipt_key=self._receipt.public_key().public_bytes_raw(),
            tls_spki_sha256=self.tls.spki_sha256,
            generation=self._generation,
        )
        self._proposed = KeyGeneration(keyset=keyset, keypairs=pairs)
        return keyset

    def withdraw(self) -> None:
        """Drops the proposed generation, if any."""
        if self._proposed is not None:
            self._proposed.drop()
        self._proposed = None

    def install(self, binding: KeyBinding, lease: Lease, *, now: datetime) -> Tenure:
        """Puts the proposed generation into use until its lease ends, and starts the ten minutes of the one before.

        Raises:
            NotGenuine: lease or binding are not of the generation proposed (KEYSET_MISMATCH, BINDING_MISMATCH).
        """
        proposed = self._proposed
        if proposed is None or not binding.keyset_id == lease.keyset_id == proposed.keyset.keyset_id:
            raise NotGenuine(Reason.KEYSET_MISMATCH, f"lease.keyset_id is {lease.keyset_id.hex()}, want the proposed")
        if lease.binding_digest != binding.digest or lease.worker_id != self.worker_id:
            raise NotGenuine(Reason.BINDING_MISMATCH, "lease is for another binding or worker than the proposed")
        tenure = Tenure(
            keyset=proposed.keyset,
            binding_digest=binding.digest,
            not_after=min(binding.not_after, lease.expires),
        )
        self._ring.install(proposed, not_after=tenure.not_after, now=now)
        self._proposed = None
        self._tenures = {key: old for key, old in self._tenures.items() if old.not_after > now.timestamp()}
        self._tenures.update({proposed.keyset.key_id(suite): tenure for suite, _ in proposed.keyset.suites})
        rotation, self._rotation = self._rotation, asyncio.Event()
        rotation.set()
        return tenure

    async def rotated(self) -> None:
        """Returns when the next generation has been put into use."""
        await self._rotation.wait()

    def current(self, now: datetime) -> Tenure | None:
        """The newest generation in use, or None while there is no lease in force."""
        try:
            tenure = self._tenures[self._ring.current.keyset.key_id(self._suites[0])]
        except SealingError:
            return None
        return tenure if tenure.not_after > now.timestamp() else None

    @property
    def needs_rotation(self) -> bool:
        """True when the current generation remembers so many sessions that it takes no new one."""
        try:
            return self._ring.current.needs_rotation
        except SealingError:
            return False

    def open(
        self,
        call: IncomingCall,
        *,
        transport: GrantedTransport,
        offers: Offers,
        now: datetime,
        max_bytes: int,
    ) -> tuple[OpenedCall, Tenure]:
        """Opens one wrapped request and names the generation that did. Raises as `KeyRing.open`."""
        opened = self._ring.open(call, transport=transport, offers=offers, now=now, max_bytes=max_bytes)
        return opened, self._tenures[opened.dispatch.key_id]

    def sweep(self, now: datetime) -> None:
        """Drops generations whose time is over; opening does so too, this is for idle workers."""
        self._ring.sweep(now)

    def close(self) -> None:
        """Drops every HPKE key and session. Halves can still be signed, so that what was done can be confirmed."""
        self.withdraw()
        self._ring.drop_all()

    def sign_halves(self, leaves: Sequence[bytes]) -> bytes:
        """The signature over one batch of halves, given by their leaf hashes."""
        return sign_leaves(self._receipt, WORKER_HALF, leaves)

    def sign_refusal(self, refusal: SignedError) -> bytes:
        """A refusal the sender may believe."""
        return sign_error(self._receipt, refusal)

    def sign_registration(self, binding_digest: bytes, endpoint: str) -> bytes:
        """The statement that this worker registers this binding, its own certificate and this endpoint."""
        return sign_registration(self._receipt, binding_digest, self.tls.certificate_der, endpoint)

    def sign_offer(self, offer: Offer) -> bytes:
        """A standing offer of this worker."""
        return sign_offer(self._receipt, offer)

    def sign_withdrawal(self, withdrawal: Withdrawal) -> bytes:
        """The end of a standing offer of this worker."""
        return sign_withdrawal(self._receipt, withdrawal)
