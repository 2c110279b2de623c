# SPDX-License-Identifier: Apache-2.0
"""A witness as a process on loopback: statuses, bodies and types of C2SP tlog-witness, and peers that behave badly."""

import asyncio
import http.client
from pathlib import Path

import pytest

from attestation.errors import SettingsError
from attestation.tlog.add_checkpoint import MAX_REQUEST_BYTES, origin_hash
from attestation.tlog.cosignature import CosignatureVerifier
from attestation.tlog.note import open_note, parse_note
from attestation.witness.app import initialise, show
from attestation.witness.store import head_of
from tests.support.http import Got, get
from tests.support.log import ORIGIN, log_signer
from tests.support.witnessing import Leaves, Post, make_post

pytestmark = pytest.mark.net

LOG = Leaves()
MONITORED = f"/{origin_hash(ORIGIN)}/checkpoint"


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return make_post(tmp_path, "witness.example/w1", log_signer().verifier.vkey)


async def submit(address: str, *bodies: bytes) -> list[Got]:
    """The answers to these requests, all on one connection."""

    def send() -> list[Got]:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            found = []
            for body in bodies:
                connection.request("POST", "/add-checkpoint", body=body)
                answer = connection.getresponse()
                headers = {name.lower(): value for name, value in answer.getheaders()}
                found.append(Got(answer.status, headers, answer.read()))
            return found
        finally:
            connection.close()

    return await asyncio.to_thread(send)


async def test_a_log_is_cosigned_as_it_grows_on_one_connection(post: Post) -> None:
    """Each answer holds a line by each key over the head sent, and the monitoring address shows the last note."""
    keys = [CosignatureVerifier.parse(vkey) for vkey in post.identity.vkeys]
    async with post.run() as address:
        assert (await get(address, MONITORED)).status == 404
        requests = [LOG.request(0, 3), LOG.request(3, 300), LOG.request(300, 300)]
        for size, got in zip((3, 300, 300), await submit(address, *requests), strict=True):
            assert got.status == 200
            text, lines = parse_note(LOG.head(size).text.encode() + b"\n" + got.body)
            for key, line in zip(keys, lines, strict=True):
                key.verify(text, line)
        monitored = await get(address, MONITORED)
    assert monitored.status == 200
    note = open_note(monitored.body, [log_signer().verifier, *keys])
    assert (head_of(monitored.body), len(note.verified)) == (LOG.head(300), 3)
    assert monitored.body.endswith(got.body), "what monitors see is what the log was given last"


async def test_a_conflict_names_the_size_in_its_own_type(post: Post) -> None:
    """The answer to a wrong old size is the last size and a newline, of the type C2SP names; then it is right."""
    async with post.run() as address:
        first, conflict, right = await submit(address, LOG.request(0, 7), LOG.request(0, 9), LOG.request(7, 9))
    assert (first.status, conflict.status, right.status) == (200, 409, 200)
    assert conflict.body == b"7\n"
    assert conflict.headers["content-type"] == "text/x.tlog.size"


async def test_refusals_have_their_status(post: Post) -> None:
    """Each is one line of text, and the connection goes on."""
    other = Leaves(signer=log_signer("other.example/log"))
    forked = Leaves(world="two")
    bodies = [
        b"nonsense",
        other.request(0, 1),
        Leaves(signer=log_signer(seed=9)).request(0, 1),
        LOG.request(0, 5),
        LOG.request(4, 4).replace(b"old 4", b"old 9"),
        forked.request(5, 5),
        forked.request(5, 6),
    ]
    async with post.run() as address:
        answers = await submit(address, *bodies)
    assert [got.status for got in answers] == [400, 404, 403, 200, 400, 422, 422]
    assert all(got.body.count(b"\n") == 1 for got in answers if got.status != 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/add-checkpoint", 405), ("GET", "/", 404), ("GET", f"/{'0' * 64}/checkpoint", 404), ("PUT", "/", 405)],
)
async def test_nothing_else_is_served(post: Post, method: str, path: str, status: int) -> None:
    """Other paths and methods are refused."""
    async with post.run() as address:
        assert (await get(address, path, method=method)).status == status


async def test_a_request_above_the_limit_is_refused(post: Post) -> None:
    """One byte more than a request may have is not judged."""
    async with post.run() as address:
        (got,) = await submit(address, bytes(MAX_REQUEST_BYTES + 1))
    assert got.status == 413


async def test_a_peer_that_asks_too_much_is_turned_away(post: Post) -> None:
    """A flood from one address is answered 429, whatever it asks for."""
    async with post.run(per_minute=3) as address:
        answers = await submit(address, *[b"nonsense"] * 4)
    assert [got.status for got in answers] == [400, 400, 400, 429]


async def test_of_heads_sent_at_once_none_is_rolled_back(post: Post) -> None:
    """Many connections race from one size: one wins, the others are told its size, and its head is the last one."""
    async with post.run() as address:
        await submit(address, LOG.request(0, 1))
        answers = await asyncio.gather(*(submit(address, LOG.request(1, size)) for size in range(2, 14)))
        monitored = await get(address, MONITORED)
    won = [size for size, (got,) in enumerate(answers, start=2) if got.status == 200]
    assert len(won) == 1
    assert {got.status for (got,) in answers} == {200, 409}
    assert head_of(monitored.body).size == won[0]


async def test_a_restart_forgets_nothing(post: Post) -> None:
    """A witness started again answers from the size it cosigned last, and shows it."""
    async with post.run() as address:
        await submit(address, LOG.request(0, 7))
    async with post.run() as address:
        (again,) = await submit(address, Leaves(world="two").request(0, 7))
    assert (again.status, again.body) == (409, b"7\n")
    assert [(log.size, log.trouble) for log in show(post.settings).logs] == [(7, "")]


async def test_a_memory_that_is_behind_is_closed_and_shown(post: Post) -> None:
    """Notes restored from yesterday: nothing is cosigned or shown to monitors, and `show` says why."""
    path = post.settings.state_dir / "logs" / origin_hash(ORIGIN)
    async with post.run() as address:
        await submit(address, LOG.request(0, 7))
        old = path.read_bytes()
        await submit(address, LOG.request(7, 9))
    path.write_bytes(old)
    async with post.run() as address:
        (refused,) = await submit(address, LOG.request(7, 10))
        assert (await get(address, MONITORED)).status == 503
    assert refused.status == 503
    assert [log.trouble for log in show(post.settings).logs] == [
        f"witness state of {ORIGIN} is 7, want at least 9, which it has cosigned"
    ]


def test_a_witness_is_made_once(post: Post) -> None:
    """A second witness under the first one's name would contradict it: init refuses, and so do open files."""
    with pytest.raises(SettingsError):
        initialise(post.settings)
    key = post.settings.state_dir / "witness.key"
    key.chmod(0o644)
    with pytest.raises(SettingsError):
        show(post.settings)
    key.unlink()
    with pytest.raises(SettingsError):
        show(post.settings)
