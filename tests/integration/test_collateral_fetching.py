# SPDX-License-Identifier: Apache-2.0
"""From settings to a completed bundle over real TLS, with a server on loopback that answers like AMD's."""

import ssl
from pathlib import Path

import pytest

from attestation.bundle import EvidenceBundle
from attestation.collateral.complete import FetchingCompleter
from attestation.collateral.config import CollateralMode, CollateralSettings, open_completer, open_source
from attestation.errors import Reason
from attestation.tee.snp.product import Product
from tests.support import fake_amd, fake_tsm
from tests.support.vendor_server import VendorServer, reply, serving

pytestmark = pytest.mark.net

NOW = fake_amd.NOW
VCEK, CRL = fake_amd.leaf(Product.GENOA), fake_amd.crl(Product.GENOA)
WORLD = fake_amd.good()
BINDING = fake_tsm.binding().encode()
SENT = EvidenceBundle(challenge=b"c", keyset=b"k", binding=BINDING, evidence=(WORLD.evidence,), collateral=())


def kds(link: ssl.SSLSocket, request: bytes) -> None:
    """AMD's service: the chip's certificate, the list, and a chain that is not at hand."""
    path = request.split()[1]
    if path.endswith(b"/crl"):
        reply(CRL.data, media_type="application/pkix-crl")(link, request)
    elif path.endswith(b"/cert_chain"):
        reply(b"", status="404 Not Found")(link, request)
    else:
        reply(VCEK, media_type="application/pkix-cert")(link, request)


def completer(server: VendorServer, folder: Path, mode: CollateralMode = CollateralMode.FETCH) -> FetchingCompleter:
    """A process's completer as its settings make it, with the server as AMD's mirror."""
    (folder / "ca.pem").write_text(server.ca_pem)
    settings = CollateralSettings(mode=mode, amd_kds=server.url, ca_file=folder / "ca.pem")
    source = open_source(settings, folder / "collateral", pause=lambda _: None, jitter=lambda: 0.0)
    return open_completer(settings, source)


def test_a_bundle_is_completed_from_a_mirror_and_then_from_the_cache(tmp_path: Path) -> None:
    """What the mirror has is in the bundle, what it has not is named; offline the cache gives the same."""
    with serving(kds) as server:
        online = completer(server, tmp_path)
        done = online.complete(SENT, NOW, account="provider-a")
        online.close()
    assert {item.data for item in done.bundle.collateral} == {VCEK, CRL.data}
    assert [error.message.partition(" is ")[0] for error in done.missing] == ["amd vcek chain of Genoa"]
    assert len(server.asked) == 3
    offline = completer(server, tmp_path, CollateralMode.CACHE)
    again = offline.complete(SENT, NOW, account="provider-a")
    offline.close()
    assert set(again.bundle.collateral) == set(done.bundle.collateral)


def test_a_mirror_nobody_vouches_for_gives_nothing(tmp_path: Path) -> None:
    """Its certificate decides before it hears what is asked: a chip's id does not leave the process."""
    with serving(kds, name="elsewhere.example") as server:
        online = completer(server, tmp_path)
        done = online.complete(SENT, NOW, account="provider-a")
        online.close()
    assert done.bundle == SENT
    assert {error.reason for error in done.missing} == {Reason.COLLATERAL_UNAVAILABLE}
    assert server.asked == []
