# SPDX-License-Identifier: Apache-2.0
"""Standing offers: signed by the receipt key, placed in every market, renewed long before they end.

Every change of keys makes new offers, because an offer names the keyset it is for. An offer is honoured here before it
is placed anywhere. A market that does not answer is tried again until the offers are renewed; none waits for another.
A market whose connection was lost may have restarted with an empty book, so it is given the same offers again. Without
a lease nothing is offered.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self

import grpc
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc

from attestation.errors import SealbidError
from attestation.offer import MAX_OFFER_SECONDS, Offer, Withdrawal
from attestation.rpc.auth import bearer, channel_tls
from attestation.rpc.status import from_rpc_error
from enclave.config import Offering
from enclave.keys import KeyCustody, Tenure
from enclave.metrics import Metrics
from enclave.offerbook import OwnOffers

_LOG = logging.getLogger("enclave.onboarding")

RENEW_SECONDS: Final = 40.0
SKEW_SECONDS: Final = 5
"""How far a market's clock may be behind."""

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 5.0
CALL_SECONDS: Final = 10.0


class MarketPort(Protocol):
    """One market. Every method may raise `SealbidError`; repeating one does no harm."""

    @property
    def name(self) -> str: ...
    async def place(self, offer: bytes) -> None: ...
    async def withdraw(self, withdrawal: bytes) -> None: ...
    async def interrupted(self) -> None:
        """Returns when the market may have forgotten what was placed."""
        ...


class MarketClient:
    """A market over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, *, name: str, api_key: str) -> None:
        self.name = name
        self._channel = channel
        self._stub = market_pb2_grpc.MarketServiceStub(channel)
        self._metadata = bearer(api_key)

    @classmethod
    def connect(cls, target: str, *, api_key: str, ca_pem: bytes | None) -> Self:
        """A client of the market at `host:port`. Raises `SettingsError` for plaintext beyond loopback."""
        credentials = channel_tls(target, ca_pem=ca_pem)
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 2000)]
        if credentials is None:
            return cls(grpc.aio.insecure_channel(target, options=options), name=target, api_key=api_key)
        return cls(grpc.aio.secure_channel(target, credentials, options=options), name=target, api_key=api_key)

    async def place(self, offer: bytes) -> None:
        """Places or renews an offer."""
        request = market_pb2.PlaceOfferRequest(offer=offer)
        await self._ask(self._stub.PlaceOffer(request, metadata=self._metadata, timeout=CALL_SECONDS))

    async def withdraw(self, withdrawal: bytes) -> None:
        """Takes an offer out."""
        request = market_pb2.WithdrawOfferRequest(withdrawal=withdrawal)
        await self._ask(self._stub.WithdrawOffer(request, metadata=self._metadata, timeout=CALL_SECONDS))

    async def interrupted(self) -> None:
        """Returns when the connection by which offers were placed is gone."""
        while (state := self._channel.get_state()) is grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def _ask(self, call: Awaitable[object]) -> None:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    offer: Offer
    signed: bytes


class OfferDesk:
    """Makes, places and renews all offers of one worker."""

    def __init__(
        self,
        *,
        custody: KeyCustody,
        own: OwnOffers,
        offerings: Sequence[Offering],
        engines: Mapping[str, bytes],
        provider_id: bytes,
        markets: Sequence[MarketPort],
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        """`engines` are the engine digests by model name."""
        self._custody = custody
        self._own = own
        self._offerings = offerings
        self._engines = engines
        self._provider_id = provider_id
        self._markets = markets
        self._metrics = metrics
        self._clock = clock
        self._seq = 0
        self._standing: tuple[_Signed, ...] = ()

    async def run(self) -> None:
        """Offers whenever there is a lease, until cancelled."""
        while True:
            tenure = self._custody.current(self._clock())
            if tenure is None:
                await self._custody.rotated()
                continue
            self._standing = self._make(tenure)
            placing = [asyncio.ensure_future(self._keep(market)) for market in self._markets]
            try:
                async with asyncio.timeout(RENEW_SECONDS):
                    await self._custody.rotated()
            except TimeoutError:
                continue
            finally:
                for task in placing:
                    task.cancel()
                await asyncio.gather(*placing, return_exceptions=True)

    async def withdraw(self) -> None:
        """Takes every standing offer out of every market; one that does not answer loses them in two minutes."""
        withdrawals = []
        for item in self._standing:
            self._seq += 1
            withdrawal = Withdrawal(offer_id=item.offer.offer_id, seq=self._seq)
            withdrawals.append(self._custody.sign_withdrawal(withdrawal))
        self._standing = ()
        calls = [market.withdraw(data) for market in self._markets for data in withdrawals]
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, SealbidError):
                _LOG.info("offer not withdrawn", extra={"reason": result.reason.value, "text": result.message})

    def _make(self, tenure: Tenure) -> tuple[_Signed, ...]:
        now = self._clock()
        offers = [self._offer(offering, tenure, int(now.timestamp())) for offering in self._offerings]
        for offer in offers:
            self._own.add(offer, now=now)
        return tuple(_Signed(offer=offer, signed=self._custody.sign_offer(offer)) for offer in offers)

    def _offer(self, offering: Offering, tenure: Tenure, at: int) -> Offer:
        self._seq += 1
        return Offer(
            seq=self._seq,
            keyset_id=tenure.keyset.keyset_id,
            worker_id=tenure.keyset.worker_id,
            provider_id=self._provider_id,
            model=offering.model,
            engine_sha256=self._engines[offering.model],
            tier=offering.tier,
            region=offering.region,
            ask_nanos=offering.ask_nanos,
            slots=offering.slots,
            latency_ms=offering.latency_ms,
            not_before=at - SKEW_SECONDS,
            not_after=min(at - SKEW_SECONDS + MAX_OFFER_SECONDS, tenure.not_after),
            max_rows=offering.max_rows,
        )

    async def _keep(self, market: MarketPort) -> None:
        """Keeps the standing offers in one market, whatever happens to the connection."""
        while self._standing:
            await self._place(market, self._standing)
            await market.interrupted()
            await asyncio.sleep(FIRST_WAIT)

    async def _place(self, market: MarketPort, offers: Sequence[_Signed]) -> None:
        """Places all offers in one market; the market may not know a new keyset for a second, so it is asked again."""
        waiting, wait, told = list(offers), FIRST_WAIT, ""
        while waiting:
            left = []
            for item in waiting:
                try:
                    await market.place(item.signed)
                    self._metrics.offers.add("placed")
                except SealbidError as error:
                    left.append(item)
                    self._metrics.offers.add("refused")
                    if told != error.reason:
                        told = error.reason
                        extra = {"market": market.name, "reason": error.reason.value, "text": error.message}
                        _LOG.info("offer not placed yet", extra=extra)
            waiting = left
            await asyncio.sleep(wait if waiting else 0)
            wait = min(wait * 2, LONGEST_WAIT)
        if offers:
            _LOG.debug("offers placed", extra={"market": market.name, "offers": len(offers)})
