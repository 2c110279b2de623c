# SPDX-License-Identifier: Apache-2.0
"""Books what requests cost, inside the receipt journal's own transaction: receipt and charge become durable together.

A charge arrives as the one amount its receipt states. It is split here between the provider and the platform; since the
amount is whole already, nothing is left for rounding. A provider the journal could not name is owed under `unknown`, to
be assigned later: the tenant's charge does not wait for that. Nor does it wait for the worker's signature: until that
comes the provider's part is in suspense, where it stays if it never comes.
"""

from collections.abc import Sequence
from typing import Protocol

from sqlmodel import Session

from gateway.ledger.ledger import charge_from_total, release, settle
from gateway.ledger.sqlmodel_store import apply


class Charged(Protocol):
    """What the ledger needs to know of a receipt."""

    @property
    def request_id(self) -> bytes: ...
    @property
    def tenant(self) -> str: ...
    @property
    def provider_id(self) -> bytes: ...
    @property
    def charge_nanos(self) -> int: ...
    @property
    def time(self) -> int: ...
    @property
    def signed(self) -> bool: ...


class Settlement:
    """Call it with the journal's session; it neither commits nor rolls back."""

    def __init__(self, *, fee_ppm: int = 0) -> None:
        self._fee_ppm = fee_ppm

    def __call__(self, session: Session, charges: Sequence[Charged]) -> None:
        """Applies one settlement per charge; one applied before is passed over.

        Raises:
            Conflict: a request was settled before with another amount or provider.
        """
        settlements = (
            settle(
                charge.request_id,
                charge.tenant,
                charge.provider_id,
                charge_from_total(charge.charge_nanos, fee_ppm=self._fee_ppm),
                created=charge.time,
                signed=charge.signed,
            )
            for charge in charges
        )
        apply(session, [settlement for settlement in settlements if settlement is not None])

    def release(self, session: Session, charges: Sequence[Charged]) -> None:
        """Pays providers what was held back for want of these requests' signatures, which have come.

        Raises:
            Conflict: it was paid before with another amount or to another provider.
            Overdrawn: less was held back.
        """
        releases = (
            release(
                charge.request_id,
                charge.provider_id,
                charge_from_total(charge.charge_nanos, fee_ppm=self._fee_ppm),
                created=charge.time,
            )
            for charge in charges
        )
        apply(session, [payment for payment in releases if payment is not None])
