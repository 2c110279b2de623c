# SPDX-License-Identifier: Apache-2.0
"""A log's addresses: what is served, how long it may be kept, and that nothing beyond the checkpoint is shown."""

import gzip
import hashlib

import pytest

from attestation.errors import Reason, SealbidError
from attestation.http.message import Request, Response
from attestation.rpc.auth import APIKeys, Credential, Role
from attestation.server.http_evidence import EvidenceArchive
from attestation.server.http_log import PublicLog
from attestation.server.http_site import Site, log_path
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.merkle import leaf_hash
from tests.support.log import NOW, MemoryLogStore, change, new_log

SECRET = b"platform identities"


def a_log(size: int) -> tuple[MemoryLogStore, EvidenceLog]:
    store = MemoryLogStore()
    log = new_log(store)
    log.append([change(number) for number in range(size - 1)])
    log.publish(NOW)
    return store, log


def asked(store: MemoryLogStore, path: str, **headers: str) -> Response | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return PublicLog(store).answer(path, Request(method="GET", path=path, headers=named))


def served(store: MemoryLogStore, path: str, **headers: str) -> Response:
    answer = asked(store, path, **headers)
    assert answer is not None
    return answer


def unbundled(data: bytes) -> list[bytes]:
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return found


def test_the_checkpoint_is_fresh_and_tiles_are_for_ever() -> None:
    """A cache keeps a checkpoint for a moment only, and never asks twice for a tile."""
    store, log = a_log(300)
    checkpoint = served(store, "checkpoint")
    assert checkpoint.body == log.checkpoint()
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "public, max-age=1"
    for path in ("tile/0/000", "tile/0/001.p/44", "tile/entries/001.p/44"):
        answer = served(store, path)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600])
def test_tiles_hold_the_tree(size: int) -> None:
    """Hashes are those of the bundled entries, level by level, over every partial tile there is or was."""
    store, _ = a_log(size)
    leaves = [leaf_hash(entry.data) for entry in store.stored]
    full, rest = divmod(size, 256)
    for index in range(full):
        assert served(store, f"tile/0/{index:03}").body == b"".join(leaves[256 * index : 256 * (index + 1)])
    if rest:
        assert served(store, f"tile/0/{full:03}.p/{rest}").body == b"".join(leaves[256 * full :])
    if full:
        assert len(served(store, f"tile/1/000.p/{full}").body) == 32 * full
        assert served(store, "tile/0/000.p/7").body == b"".join(leaves[:7])
    entries = unbundled(served(store, "tile/entries/000" + (f".p/{rest}" if size < 256 else "")).body)
    assert entries == [entry.data for entry in store.stored[:256]]


@pytest.mark.parametrize(
    "path", ["", "tile/0/0", "tile/0/x000/000", "tile/0/000.p/256", "tile/0/../../log.key", "tile/64/000"]
)
def test_a_tile_has_one_address(path: str) -> None:
    """A second spelling would be a second thing for caches, and a way around what they refuse."""
    store, _ = a_log(300)
    assert asked(store, path) is None


def test_nothing_beyond_the_checkpoint_is_shown() -> None:
    """Entries that no checkpoint covers are not in the log yet."""
    store, log = a_log(10)
    log.append([change(99)])
    assert asked(store, "tile/0/000.p/11") is None
    assert asked(store, "tile/entries/000.p/11") is None
    assert asked(store, "tile/0/000") is None
    assert asked(store, "tile/1/000.p/1") is None
    assert asked(MemoryLogStore(), "checkpoint") is None
    assert asked(MemoryLogStore(), "tile/0/000.p/1") is None


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ],
)
def test_entries_are_gzipped_for_whoever_takes_it(accepted: str, zipped: bool) -> None:
    """A reader that does not say so gets the plain bytes, and caches keep the two apart."""
    store, _ = a_log(20)
    answer = served(store, "tile/entries/000.p/20", accept_encoding=accepted)
    assert (answer.headers.get("content-encoding") == "gzip") is zipped
    assert answer.headers["vary"] == "accept-encoding"
    body = gzip.decompress(answer.body) if zipped else answer.body
    assert unbundled(body) == [entry.data for entry in store.stored]


def test_a_bundle_with_a_gap_is_no_bundle() -> None:
    """A damaged store is an error, never a shorter log."""
    store, _ = a_log(20)
    del store.stored[7]
    assert served(store, "tile/entries/000.p/20").status == 500


class Access:
    """Who read what, as the log would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.fails = False

    def __call__(self, *, by: str, action: str, target: str) -> None:
        if self.fails:
            raise SealbidError(Reason.STORE_UNAVAILABLE, "log store failed")
        self.told.append((by, action, target))


def a_site(access: Access, *roles: Role) -> tuple[Site, str]:
    store, _ = a_log(3)
    digest = _sha256(SECRET)
    accounts = APIKeys({bytes.fromhex(_sha256(b"sbk_reader")): Credential(name="reader", roles=frozenset(roles))})
    archived = {bytes.fromhex(digest): SECRET, b"\x07" * 32: b"bytes of another digest"}
    archive = EvidenceArchive(accounts=accounts, archived=archived.get, record=access)
    return Site(
        logs={"evidence": PublicLog(store)}, evidence=archive, policy=lambda: "quorum none\n", page=lambda path, _: None
    ), digest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(site: Site, digest: str, key: str | None) -> Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return site.answer(Request(method="GET", path=f"/evidence/{digest}", headers=headers))


def test_evidence_is_for_accounts_and_the_log_names_the_reader_first() -> None:
    """Ruling 33: never anonymous, and who read is an entry before the bytes leave."""
    access = Access()
    site, digest = a_site(access, Role.AUDITOR)
    anonymous = read(site, digest, None)
    assert (anonymous.status, anonymous.headers["www-authenticate"]) == (401, 'Bearer realm="sealbid"')
    assert read(site, digest, "sbk_another").status == 401
    assert access.told == []
    answer = read(site, digest, "sbk_reader")
    assert (answer.status, answer.body) == (200, SECRET)
    assert "no-store" in answer.headers["cache-control"]
    assert access.told == [("reader", "read", f"evidence/{digest}")]


def test_evidence_stays_when_the_log_cannot_name_the_reader() -> None:
    """No entry, no bytes."""
    access = Access()
    access.fails = True
    site, digest = a_site(access, Role.AUDITOR)
    answer = read(site, digest, "sbk_reader")
    assert answer.status == 503
    assert SECRET not in answer.body


def test_providers_read_no_evidence() -> None:
    """Evidence of another provider's machine would tell whose it is."""
    access = Access()
    site, digest = a_site(access, Role.PROVIDER)
    assert read(site, digest, "sbk_reader").status == 403
    assert access.told == []


def test_bytes_that_are_not_their_digests_are_not_there() -> None:
    """What an archive holds under a wrong name is no evidence, and unknown digests are no reading."""
    access = Access()
    site, _ = a_site(access, Role.AUDITOR)
    assert read(site, "07" * 32, "sbk_reader").status == 404
    assert read(site, "08" * 32, "sbk_reader").status == 404
    assert access.told == []


@pytest.mark.parametrize(
    "path",
    [
        "/audit/x",
        "/evidence",
        "/evidence/",
        "/evidence/../log.key",
        "/evidence/XYZ",
        "/tile/0/000",
        "/log/",
        "/log.key",
    ],
)
def test_other_addresses_are_none(path: str) -> None:
    """404, with its code, and nobody keeps it."""
    site, _ = a_site(Access(), Role.AUDITOR)
    answer = site.answer(Request(method="GET", path=path))
    assert answer.status == 404
    assert answer.body.startswith(b"NOT_FOUND: ")
    assert answer.headers["cache-control"] == "no-store"


def test_a_log_stands_under_its_origins_path() -> None:
    """The address of a log is its origin, as witnesses and monitors expect."""
    assert log_path("market.example/evidence") == "evidence"
    assert log_path("market.example/receipts/2026q4") == "receipts/2026q4"
    assert log_path("market.example") == "log"
    site, _ = a_site(Access())
    assert site.answer(Request(method="GET", path="/evidence/checkpoint")).status == 200
    assert site.answer(Request(method="GET", path="/log/policy")).body == b"quorum none\n"
