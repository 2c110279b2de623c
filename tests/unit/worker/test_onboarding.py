# SPDX-License-Identifier: Apache-2.0
"""Entering the market: registration that believes nothing, gateways from the log, offers that follow the keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from attestation.appraisal.finding import Finding
from attestation.binding import Challenge, KeyBinding, Profile
from attestation.bundle import EvidenceBundle
from attestation.claims import ComponentID, ComponentKind
from attestation.errors import MalformedEvidence, NotAcceptable, NotGenuine, Reason, SealbidError, Stale
from attestation.identity import provider_id
from attestation.lease import Lease, sign_lease
from attestation.offer import Tier, open_offer, open_withdrawal
from attestation.registration import check_registration
from attestation.registry.gateways import LoggedGateway
from attestation.registry.values import Activation, Admitted, Refused, Registration, Verdict
from attestation.tee.tpm.credential import AttestationKey, Credential
from attestation.tlog.note import NoteSigner
from attestation.tlog.policy import NO_WITNESSES
from attestation.trust import TrustRoot
from attestation.verify import PresentedWorker
from enclave.attesters.interface import Attester, Duty, Quoted
from enclave.attesters.simulated import SimulatedAttester
from enclave.config import Offering
from enclave.gateways import Gateways
from enclave.keys import KeyCustody
from enclave.metrics import Metrics
from enclave.offerbook import OwnOffers
from enclave.onboarding.offers import OfferDesk
from enclave.onboarding.register import Registrar
from tests.support.attested import NOW, POLICY_SHA256
from tests.support.link import SECONDS, until
from tests.support.worker import new_lease

ORIGIN = "registry.test/evidence"
LEASE_KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
ENGINE = b"e" * 32
CREDENTIAL = Credential(blob=b"blob", encrypted_secret=b"secret")
SHOWN = AttestationKey(public=b"ak", ek_certificate=b"ek")


class FakeRegistry:
    """A registry that answers as the test says."""

    def __init__(self, custody: KeyCustody) -> None:
        self.custody = custody
        self.lease_key = LEASE_KEY
        self.audience = ORIGIN
        self.provider = provider_id("provider-a")
        self.refusal: Refused | None = None
        self.down = False
        self.registered: list[Registration] = []
        self.lists = 0
        self.lease_seconds = 3600
        self.shown: list[AttestationKey] = []

    async def issue_challenge(self) -> bytes:
        """A challenge for the provider and audience set."""
        if self.down:
            raise SealbidError(Reason.PEER_UNAVAILABLE, "registry is down, want an answer")
        at = int(NOW.timestamp())
        return Challenge(
            random=bytes(32),
            audience=self.audience,
            provider_id=self.provider,
            checkpoint_sha256=bytes(32),
            issued=at,
            expires=at + 60,
        ).encode()

    async def issue_activation(self, key: AttestationKey) -> Activation:
        """A challenge with a credential of no meaning."""
        self.shown.append(key)
        return Activation(challenge=await self.issue_challenge(), credential=CREDENTIAL)

    async def register(self, registration: Registration) -> Verdict:
        """A lease for what was registered, or the refusal set."""
        self.registered.append(registration)
        if self.refusal is not None:
            return self.refusal
        binding = KeyBinding.decode(registration.bundle.binding)
        lease = Lease(
            worker_id=self.custody.worker_id,
            keyset_id=binding.keyset_id,
            binding_digest=binding.digest,
            provider_id=binding.provider_id,
            policy_sha256=POLICY_SHA256,
            verdict_index=1,
            verdict_leaf=bytes(32),
            profile=Profile.DEVELOPMENT,
            issued=int(NOW.timestamp()),
            expires=int(NOW.timestamp()) + self.lease_seconds,
        )
        return Admitted(
            presented=PresentedWorker(
                bundle=registration.bundle,
                lease=sign_lease(self.lease_key, lease),
                verdict_entry=b"",
                verdict_proof=b"",
                certificate_der=registration.certificate_der,
                endpoint=registration.endpoint,
            )
        )

    async def list_gateways(self) -> tuple[LoggedGateway, ...]:
        """One gateway that no log holds."""
        self.lists += 1
        false = LoggedGateway(
            gateway_id=bytes(32),
            signing_key=bytes(32),
            certificate_der=b"",
            key_entry=b"",
            key_proof=b"",
            tls_entry=b"",
            tls_proof=b"",
        )
        return (false,)


class OpensCredentials(SimulatedAttester):
    """A SIMULATED attester that is asked to open a credential first, as one with a TPM is."""

    def __init__(self) -> None:
        super().__init__(components=[ComponentID(kind=ComponentKind.CPU, value=b"machine two")])
        self.asked: list[object] = []

    def attestation_key(self) -> AttestationKey:
        """Keys of no meaning."""
        self.asked.append("key")
        return SHOWN

    def activate(self, credential: Credential) -> None:
        """Remembers that it was asked."""
        self.asked.append(credential)

    @override
    def quote(self, binding: KeyBinding, *, now: datetime) -> Quoted:
        self.asked.append("quote")
        return super().quote(binding, now=now)


def a_registrar(custody: KeyCustody, registry: FakeRegistry, attester: Attester | None = None) -> Registrar:
    """A registrar of a SIMULATED machine."""
    signer = NoteSigner(name=ORIGIN, key=Ed25519PrivateKey.from_private_bytes(b"\x06" * 32))
    trust = TrustRoot(
        origin=ORIGIN,
        log_key=signer.verifier,
        lease_key=LEASE_KEY.public_key().public_bytes_raw(),
        witness_policy=NO_WITNESSES,
        profile=Profile.DEVELOPMENT,
    )
    return Registrar(
        registry=registry,
        custody=custody,
        attester=attester or SimulatedAttester(components=[ComponentID(kind=ComponentKind.CPU, value=b"machine one")]),
        duty=Duty(provider_id=provider_id("provider-a"), audience=ORIGIN, engines=[ENGINE], config_sha256=bytes(32)),
        trust=trust,
        endpoint="127.0.0.1:1",
        metrics=Metrics(profile=Profile.DEVELOPMENT),
        clock=lambda: NOW,
    )


async def test_a_lease_puts_new_keys_into_use() -> None:
    """What is registered is signed by the receipt key; the lease starts the tenure of exactly those keys."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)
    tenure = await a_registrar(custody, registry).register()
    assert custody.current(NOW) is tenure
    (sent,) = registry.registered
    assert isinstance(sent.bundle, EvidenceBundle)
    binding = KeyBinding.decode(sent.bundle.binding)
    assert binding.engines == (ENGINE,)
    assert binding.keyset_id == tenure.keyset.keyset_id
    check_registration(
        sent.registration, tenure.keyset.receipt_key, binding.digest, custody.tls.certificate_der, "127.0.0.1:1"
    )


async def test_a_credential_is_opened_for_every_registration() -> None:
    """A worker whose key must be tied to its machine shows it, opens what comes back, and only then quotes."""
    custody, attester = KeyCustody(), OpensCredentials()
    registry = FakeRegistry(custody)
    registrar = a_registrar(custody, registry, attester)
    await registrar.register()
    await registrar.register()
    assert attester.asked == 2 * ["key", CREDENTIAL, "quote"]
    assert registry.shown == 2 * [SHOWN]


async def test_a_renewal_has_new_keys_and_the_same_worker() -> None:
    """Each lease has its own generation."""
    custody = KeyCustody()
    registrar = a_registrar(custody, FakeRegistry(custody))
    first, second = await registrar.register(), await registrar.register()
    assert first.keyset.keyset_id != second.keyset.keyset_id
    assert first.keyset.worker_id == second.keyset.worker_id


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"audience": "another.test/evidence"}, NotGenuine, Reason.AUDIENCE_MISMATCH),
        ({"provider": provider_id("provider-b")}, NotGenuine, Reason.PROVIDER_MISMATCH),
        ({"lease_key": Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)}, NotGenuine, Reason.LEASE_INVALID),
        ({"down": True}, SealbidError, Reason.PEER_UNAVAILABLE),
    ],
    ids=["another audience", "another provider", "another lease key", "down"],
)
async def test_what_the_registry_does_wrong_changes_nothing(
    change: dict[str, object], error: type[SealbidError], reason: Reason
) -> None:
    """Evidence is made for this provider and market only, and only the trusted lease key leases; keys in use stay."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)
    registrar = a_registrar(custody, registry)
    before = await registrar.register()
    for name, value in change.items():
        setattr(registry, name, value)
    with pytest.raises(error) as caught:
        await registrar.register()
    assert caught.value.reason is reason
    assert custody.current(NOW) is before


async def test_a_refusal_carries_every_finding() -> None:
    """All of them, by field, got and want, so that the provider can mend all at once."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)
    findings = tuple(
        Finding(reason=Reason.DEBUG_REFUSED, field=field, got="true", want="false", remedy="") for field in "ab"
    )
    registry.refusal = Refused(reason=Reason.DEBUG_REFUSED, findings=findings, verdict_entry=b"", verdict_proof=b"")
    with pytest.raises(NotAcceptable, match="a is true, want false; b is true, want false") as caught:
        await a_registrar(custody, registry).register()
    assert caught.value.findings == findings
    assert custody.current(NOW) is None


async def test_gateways_the_log_does_not_hold_are_not_known() -> None:
    """The registry's word alone makes no gateway."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)
    gateways = Gateways()
    task = asyncio.ensure_future(a_registrar(custody, registry).know(gateways, seconds=0.001))
    await until(lambda: registry.lists >= 2)
    task.cancel()
    assert len(gateways) == 0


async def test_registration_is_tried_again_until_it_succeeds() -> None:
    """A registry that was down at the start is asked again."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)
    registry.down = True
    task = asyncio.ensure_future(a_registrar(custody, registry).keep())
    await asyncio.sleep(0)
    registry.down = False
    await until(lambda: custody.current(NOW) is not None)
    task.cancel()


class FakeMarket:
    """A market that keeps what it gets and refuses the first few."""

    name = "market"

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.placed: asyncio.Queue[bytes] = asyncio.Queue()
        self.withdrawn: list[bytes] = []
        self.lost = asyncio.Event()

    async def place(self, offer: bytes) -> None:
        """Keeps an offer, unless it is one of the first."""
        if self.refusals:
            self.refusals -= 1
            raise Stale(Reason.LEASE_EXPIRED, "keyset is unknown, want a live one")
        self.placed.put_nowait(offer)

    async def withdraw(self, withdrawal: bytes) -> None:
        """Keeps a withdrawal."""
        self.withdrawn.append(withdrawal)

    async def interrupted(self) -> None:
        """Returns once the test loses the connection."""
        await self.lost.wait()
        self.lost.clear()

    async def next(self) -> bytes:
        """The next offer placed."""
        async with asyncio.timeout(SECONDS):
            return await self.placed.get()


@asynccontextmanager
async def a_desk(custody: KeyCustody, own: OwnOffers, *markets: FakeMarket) -> AsyncIterator[OfferDesk]:
    """A running offer desk with one offering."""
    desk = OfferDesk(
        custody=custody,
        own=own,
        offerings=[Offering(model="magika", ask_nanos=900, tier=Tier.BATCH, slots=3)],
        engines={"magika": ENGINE},
        provider_id=provider_id("provider-a"),
        markets=markets,
        metrics=Metrics(profile=Profile.DEVELOPMENT),
        clock=lambda: NOW,
    )
    task = asyncio.ensure_future(desk.run())
    yield desk
    task.cancel()
    await asyncio.wait([task])


async def test_nothing_is_offered_before_a_lease_and_everything_after() -> None:
    """The first offer is for the first tenure's keys, and is honoured here already when it reaches the market."""
    custody, own, market = KeyCustody(), OwnOffers(), FakeMarket()
    async with a_desk(custody, own, market):
        await asyncio.sleep(0)
        assert market.placed.empty()
        attested = new_lease(custody, NOW, [])
        offer = open_offer(await market.next(), attested.keyset.receipt_key)
        assert offer.offer_id in own
        assert offer.keyset_id == attested.keyset_id
        assert (offer.model, offer.ask_nanos, offer.tier, offer.slots) == ("magika", 900, Tier.BATCH, 3)
        assert offer.stands(NOW)


async def test_an_offer_does_not_outlast_its_lease() -> None:
    """Its end is the lease's, when that is nearer."""
    custody, market = KeyCustody(), FakeMarket()
    attested = new_lease(custody, NOW, [], seconds=30)
    async with a_desk(custody, OwnOffers(), market):
        offer = open_offer(await market.next(), attested.keyset.receipt_key)
    assert datetime.fromtimestamp(offer.not_after, UTC) == attested.expires


async def test_new_keys_bring_new_offers_with_higher_numbers() -> None:
    """An offer names its keyset, so rotation offers anew; the old id is still honoured for calls on their way."""
    custody, own, market = KeyCustody(), OwnOffers(), FakeMarket()
    attested = new_lease(custody, NOW, [])
    async with a_desk(custody, own, market):
        first = open_offer(await market.next(), attested.keyset.receipt_key)
        again = new_lease(custody, NOW, [])
        second = open_offer(await market.next(), attested.keyset.receipt_key)
    assert second.keyset_id == again.keyset_id != first.keyset_id
    assert second.seq > first.seq
    assert first.offer_id in own
    assert second.offer_id in own


async def test_a_market_that_refuses_is_asked_again_and_holds_up_no_other() -> None:
    """One market may learn of a keyset later than another."""
    custody, late, ready = KeyCustody(), FakeMarket(refusals=1), FakeMarket()
    new_lease(custody, NOW, [])
    async with a_desk(custody, OwnOffers(), late, ready):
        assert await ready.next() == await late.next()


async def test_a_market_that_was_lost_gets_the_same_offers_again() -> None:
    """A gateway that restarted has an empty book; it is not left without offers until they are renewed."""
    custody, market = KeyCustody(), FakeMarket()
    new_lease(custody, NOW, [])
    async with a_desk(custody, OwnOffers(), market):
        offer = await market.next()
        market.lost.set()
        assert await market.next() == offer


async def test_standing_offers_are_withdrawn_by_signature() -> None:
    """A worker that stops takes its offers out everywhere."""
    custody, market = KeyCustody(), FakeMarket()
    attested = new_lease(custody, NOW, [])
    async with a_desk(custody, OwnOffers(), market) as desk:
        offer = open_offer(await market.next(), attested.keyset.receipt_key)
        await desk.withdraw()
    (withdrawal,) = market.withdrawn
    assert open_withdrawal(withdrawal, attested.keyset.receipt_key).offer_id == offer.offer_id


def test_a_challenge_that_is_none_is_refused() -> None:
    """Bytes that are no challenge never reach the attester."""
    custody = KeyCustody()
    registry = FakeRegistry(custody)

    async def nonsense() -> bytes:
        return b"nonsense"

    registry.issue_challenge = nonsense  # type: ignore[method-assign]
    with pytest.raises(MalformedEvidence):
        asyncio.run(a_registrar(custody, registry).register())
