# SPDX-License-Identifier: Apache-2.0
"""The providers' door: places, withdraws and lists standing offers (sealbid.market.v1).

A provider's credential must be the provider the offer's attested worker was registered by, so nobody trades for
another; and the engine offered must be one the configuration counts as the model offered.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from sealbid_wire.market.v1 import market_pb2, market_pb2_grpc
from typing_extensions import override

from attestation.errors import Reason, SealbidError, Stale
from attestation.identity import provider_id
from attestation.rpc.auth import Credential, Role
from attestation.rpc.status import abort
from gateway.auth import Authenticator
from gateway.errors import Denied
from gateway.market.book import Equivocation
from gateway.market.offers import Offer, peek_offer
from gateway.market.service import Attested, Market, StandingOffer
from gateway.market.snapshot import Eligible
from gateway.tensors import Catalog

Context = grpc.aio.ServicerContext[Any, Any]


class MarketService(market_pb2_grpc.MarketServiceServicer):
    """The edge of `gateway.market.service.Market`."""

    def __init__(
        self,
        *,
        market: Market,
        attested: Attested,
        catalog: Catalog,
        authenticator: Authenticator,
        clock: Callable[[], datetime],
    ) -> None:
        self._market = market
        self._attested = attested
        self._catalog = catalog
        self._authenticator = authenticator
        self._clock = clock

    @override
    async def PlaceOffer(
        self, request: market_pb2.PlaceOfferRequest, context: Context
    ) -> market_pb2.PlaceOfferResponse:
        try:
            credential = self._authenticator.require(context, Role.PROVIDER)
            self._check_engine(peek_offer(request.offer))
            placed = self._market.place_offer(request.offer, self._own(credential), now=self._clock())
            if isinstance(placed, Equivocation):
                message = f"offer sequence {placed.seq} has two contents, want one; both offers are gone"
                await abort(context, SealbidError(Reason.OFFER_INVALID, message))
        except SealbidError as error:
            await abort(context, error)
        return market_pb2.PlaceOfferResponse(offer_id=placed.offer_id)

    @override
    async def WithdrawOffer(
        self, request: market_pb2.WithdrawOfferRequest, context: Context
    ) -> market_pb2.WithdrawOfferResponse:
        try:
            credential = self._authenticator.require(context, Role.PROVIDER)
            keyset_id = self._market.keyset_of(request.withdrawal)
            eligible = None if keyset_id is None else self._own(credential)(keyset_id)
            if eligible is None:
                raise Stale(Reason.NOT_FOUND, "offer is not in the book, want one that stands")
            self._market.withdraw_offer(request.withdrawal, eligible)
        except SealbidError as error:
            await abort(context, error)
        return market_pb2.WithdrawOfferResponse()

    @override
    async def ListOffers(
        self, request: market_pb2.ListOffersRequest, context: Context
    ) -> market_pb2.ListOffersResponse:
        try:
            credential = self._authenticator.require(context, Role.PROVIDER, Role.OPERATOR)
        except SealbidError as error:
            await abort(context, error)
        every, own = Role.OPERATOR in credential.roles, provider_id(credential.name)
        seen = (standing for standing in self._market.standing() if every or standing.offer.provider_id == own)
        return market_pb2.ListOffersResponse(offers=[_message(standing) for standing in seen])

    def _check_engine(self, offer: Offer) -> None:
        """An attested engine is some engine; only the configuration says which ones answer to a model's name."""
        if not self._catalog.serves(offer.model, offer.engine_sha256):
            engine = offer.engine_sha256.hex()
            raise SealbidError(Reason.OFFER_INVALID, f"offer engine is {engine}, want one configured for its model")

    def _own(self, credential: Credential) -> Attested:
        """What attestation says of a keyset, if it is the caller's own and serves a configured model."""

        def attested(keyset_id: bytes) -> Eligible | None:
            eligible = self._attested(keyset_id)
            if eligible is not None and eligible.provider_id != provider_id(credential.name):
                raise Denied(Reason.PERMISSION_DENIED, "offer is of another provider's worker, want the caller's own")
            return eligible

        return attested


def _message(standing: StandingOffer) -> market_pb2.StandingOffer:
    offer = standing.offer
    return market_pb2.StandingOffer(
        offer_id=standing.offer_id,
        keyset_id=offer.keyset_id,
        model=offer.model,
        tier=offer.tier,
        region=offer.region,
        ask_nanos=offer.ask_nanos,
        slots=offer.slots,
        taken=standing.taken,
        not_after=offer.not_after,
    )
