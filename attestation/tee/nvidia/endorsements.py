# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA endorses a report with: the device's chain, manifests of golden values, revocation statements.

All of it comes with the evidence and is verified here, once as long as it is remembered; what depends on the time is
judged at every use. A report does not say whose it is, so the chains that came along are tried: those that mention the
report's firmware first, of these the one that fitted a report with the same fields before, then the one that fitted any
longest ago, since devices of one machine report in turn. The order never alters the outcome.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from threading import Lock
from typing import Final

from attestation.bundle import Collateral
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.tee.nvidia.chain import DEVICE_ROOTS, DeviceChain, VerifiedDevice
from attestation.tee.nvidia.rim import RIM_ROOTS, RIMKind, VerifiedRIM, read_rim, select_rim
from attestation.tee.nvidia.spdm import MeasurementExchange
from attestation.tee.nvidia.standing import Parsed, Statements
from attestation.tee.remembered import Remembered

CHAIN_KIND: Final = "nvidia-chain"
RIM_KIND: Final = "nvidia-rim"
MAX_CHAINS: Final = 32
"""Tried per report, a signature check each; no machine has more devices."""

MAX_RIMS: Final = 16
_REMEMBERED_CHAINS: Final = 1024
_REMEMBERED_RIMS: Final = 64
_REMEMBERED_STATEMENTS: Final = 4096


class Endorsements:
    """NVIDIA's endorsements under given roots (SHA-256 of DER), remembered; safe to share between threads."""

    def __init__(self, *, roots: Collection[bytes] = DEVICE_ROOTS, rim_roots: Collection[bytes] = RIM_ROOTS) -> None:
        self._roots = frozenset(roots)
        self._rim_roots = frozenset(rim_roots)
        self._chains: Remembered[DeviceChain] = Remembered(_REMEMBERED_CHAINS)
        self._devices: Remembered[VerifiedDevice] = Remembered(_REMEMBERED_CHAINS)
        self._rims: Remembered[VerifiedRIM] = Remembered(_REMEMBERED_RIMS)
        self._parsed = Parsed(_REMEMBERED_STATEMENTS)
        self._turns = Turns(_REMEMBERED_CHAINS)

    def device(self, exchange: MeasurementExchange, mark: bytes, collateral: Sequence[Collateral]) -> VerifiedDevice:
        """The device that signed `exchange`; chains whose leaf holds `mark` are tried first.

        Raises:
            CollateralUnavailable: ENDORSEMENT_MISSING without any chain.
            MalformedEvidence: a chain does not parse, or there are too many.
            NotGenuine: no chain's key signed the exchange (SIGNATURE_INVALID), or the one that did is not NVIDIA's.
        """
        chains = {item.sha256: item for item in collateral if item.kind == CHAIN_KIND}
        if not chains:
            message = f"collateral {CHAIN_KIND} is missing, want the device's chain"
            raise CollateralUnavailable(Reason.ENDORSEMENT_MISSING, message)
        if len(chains) > MAX_CHAINS:
            message = f"collateral {CHAIN_KIND} are {len(chains)}, want at most {MAX_CHAINS}"
            raise MalformedEvidence(Reason.MALFORMED, message)
        read = {digest: self._chain(digest, item) for digest, item in chains.items()}
        alike = hashlib.sha256(b"".join(exchange.fields.values())).digest()
        for digest in sorted(self._turns.order(read, alike), key=lambda digest: mark not in read[digest].leaf_der):
            if read[digest].signed(exchange):
                self._turns.fitted(digest, alike)
                return self._devices.get(digest, lambda chain=read[digest]: chain.verify(self._roots))  # type: ignore[misc]
        got = f"signed by none of {len(chains)} chains"
        raise NotGenuine(Reason.SIGNATURE_INVALID, f"nvidia report is {got}, want it signed by its device")

    def rims(
        self, product: str, versions: Mapping[RIMKind, str], collateral: Sequence[Collateral]
    ) -> list[VerifiedRIM | None]:
        """The newest manifest for each kind and version of this product, in order, None where there is none.

        Only manifests in which the version occurs are read: the others cannot be meant.
        Raises `MalformedEvidence` or `NotGenuine` for one that is read and is not good.
        """
        return [self._newest(kind, product, version, collateral) for kind, version in versions.items()]

    def statements(self, collateral: Sequence[Collateral]) -> Statements:
        """The revocation statements among `collateral`. Raises `MalformedEvidence`."""
        return Statements(self._parsed, collateral)

    def _newest(
        self, kind: RIMKind, product: str, version: str, collateral: Sequence[Collateral]
    ) -> VerifiedRIM | None:
        text = version.encode()
        items = {item.sha256: item for item in collateral if item.kind == RIM_KIND and text in item.data}
        if len(items) > MAX_RIMS:
            message = f"collateral {RIM_KIND} for {version} are {len(items)}, want at most {MAX_RIMS}"
            raise MalformedEvidence(Reason.MALFORMED, message)
        read = [self._rim(digest, item) for digest, item in items.items()]
        return select_rim(read, kind=kind, product=product, version=version)

    def _chain(self, digest: bytes, item: Collateral) -> DeviceChain:
        return self._chains.get(digest, lambda: DeviceChain.read(item.data))

    def _rim(self, digest: bytes, item: Collateral) -> VerifiedRIM:
        return self._rims.get(digest, lambda: read_rim(item.data, roots=self._rim_roots))


class Turns:
    """In which order to try what may fit: what fitted something alike before, then what fitted longest ago or never.

    A machine's GPUs name their switches in an order of their own, so one that reports again looks like itself. Where
    they all look the same, what fitted last belongs to the one before and has no precedence.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = count(1)
        self._last: OrderedDict[bytes, int] = OrderedDict()
        self._alike: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = Lock()

    def order(self, digests: Collection[bytes], alike: bytes) -> list[bytes]:
        """All of `digests`, the likeliest first, in the order given where nothing is known."""
        with self._lock:
            turns = {digest: self._last.get(digest, 0) for digest in digests}
            before = self._alike.get(alike)
        if before in turns and turns[before] < max(turns.values()):
            turns[before] = -1
        return sorted(turns, key=turns.__getitem__)

    def fitted(self, digest: bytes, alike: bytes) -> None:
        """Notes that `digest` has had its turn, for something that looks like `alike`."""
        with self._lock:
            self._last[digest] = next(self._count)
            self._alike[alike] = digest
            for known, key in ((self._last, digest), (self._alike, alike)):
                known.move_to_end(key)
                while len(known) > self._limit:
                    known.popitem(last=False)
