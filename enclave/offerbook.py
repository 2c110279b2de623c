# SPDX-License-Identifier: Apache-2.0
"""What this worker has offered, and how much of it is taken: the authority on its own slots (docs/spec.md, 11.3).

An offer is renewed every minute under a new id, so a *lot* (model, tier) has many offer ids over time and one count of
slots. An id is honoured until a grace after its end: the request it won may still be on its way.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.errors import Reason, SealingError
from attestation.offer import Offer, Tier
from attestation.sealing.dispatch import Dispatch
from attestation.sealing.header import Header
from attestation.sealing.incoming import OpenedCall, refused

GRACE_SECONDS: Final = 120


@dataclass(slots=True, kw_only=True)
class Lot:
    """One thing on offer: how many calls may run at once, and how many do."""

    model: str
    tier: Tier
    slots: int
    taken: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    offer: Offer
    lot: Lot


class OwnOffers:
    """The offers of one worker by id, to which `attestation.sealing.incoming` holds a dispatch. One event loop."""

    def __init__(self) -> None:
        self._entries: dict[bytes, _Entry] = {}
        self._lots: dict[tuple[str, Tier], Lot] = {}

    def __contains__(self, offer_id: object) -> bool:
        return offer_id in self._entries

    def add(self, offer: Offer, *, now: datetime) -> None:
        """Honours an offer from now on; must come before it is placed anywhere. Forgets those long over."""
        lot = self._lots.setdefault(
            (offer.model, offer.tier), Lot(model=offer.model, tier=offer.tier, slots=offer.slots)
        )
        lot.slots = offer.slots
        horizon = now.timestamp() - GRACE_SECONDS
        self._entries = {key: entry for key, entry in self._entries.items() if entry.offer.not_after > horizon}
        self._entries[offer.offer_id] = _Entry(offer=offer, lot=lot)

    def check(self, dispatch: Dispatch, header: Header) -> None:
        """Accepts a dispatch that `take` would take a slot for, and takes none. Raises as `take`."""
        self._lot(dispatch, header)

    def take(self, opened: OpenedCall) -> Lot:
        """Takes a slot of the lot the call was awarded; give it back by `release`.

        Raises:
            SealingError: the offer is not this worker's, the price under the ask, or the model another than offered
                (DISPATCH_REFUSED), or all slots are taken (WORKER_OVERLOADED).
        """
        lot = self._lot(opened.dispatch, opened.header)
        lot.taken += 1
        return lot

    @staticmethod
    def release(lot: Lot) -> None:
        """Gives a slot back."""
        lot.taken -= 1

    def _lot(self, dispatch: Dispatch, header: Header) -> Lot:
        entry = self._entries.get(dispatch.offer_id)
        if entry is None:
            raise refused(f"dispatch.offer_id is {dispatch.offer_id.hex()}, want an offer of this worker")
        offer, lot = entry.offer, entry.lot
        if dispatch.price_nanos < offer.ask_nanos:
            raise refused(f"dispatch.price_nanos is {dispatch.price_nanos}, want at least the {offer.ask_nanos} asked")
        if header.limits.model != offer.model:
            raise refused(f"dispatch.offer_id is an offer for another model, want {offer.model}")
        if lot.taken >= lot.slots:
            raise SealingError(Reason.WORKER_OVERLOADED, f"slots taken are {lot.taken}, want under {lot.slots}")
        return lot
