# SPDX-License-Identifier: Apache-2.0
"""Nothing of a caller's payload leaves gateway and worker: not on the wire, in a log, a metric, a file or a database.

A secret of 64 random bytes goes through unary and streamed inference, in requests, answers and refusals, over links
opened from either side. Then everything those processes sent each other, wrote or show is searched for it, in every
form of `tests.support.marker`. The caller's own plaintext connection to its gateway is not part of the search.
"""

import base64
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest

from sealbid.demo.deployment import WorkerPlan
from sealbid.demo.processes import free_port
from tests.support.e2e import (
    Caller,
    E2EDeployment,
    a_deployment,
    a_request,
    eventually,
    numbers,
    prompt,
    started,
)
from tests.support.marker import Found, Marker
from tests.support.tapped import Relay, recorded, sealed_frames

pytestmark = pytest.mark.net

MODELS = ("identity", "tiny")
BIG_BYTES = 9 << 17
"""Several frames each way: a frame holds at most a MiB."""


@dataclass
class Corpus:
    """Everything that is searched: single blobs, and sequences of blobs that followed each other."""

    blobs: dict[str, bytes] = field(default_factory=dict, repr=False)
    sequences: dict[str, list[bytes]] = field(default_factory=dict, repr=False)

    def search(self, marker: Marker) -> list[Found]:
        """Every trace of the secret."""
        found = [trace for name, blob in self.blobs.items() for trace in marker.scan(name, blob)]
        return found + [trace for name, blobs in self.sequences.items() for trace in marker.scan_sequence(name, blobs)]

    def named(self, part: str) -> list[str]:
        """Names that contain `part`."""
        return [name for name in (*self.blobs, *self.sequences) if part in name]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A deployment after the secret went through it."""

    deployment: E2EDeployment
    relays: dict[str, Relay]
    marker: Marker
    echoed: bytes = field(repr=False)
    """What a worker gave back of the secret, so that it is known to have been there."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two workers, one dialled by the gateway and one dialling it, each through a relay."""
    workers = [
        WorkerPlan(name="alder", ask_nanos=500, models=MODELS),
        WorkerPlan(name="birch", ask_nanos=900, models=MODELS, dials=True),
    ]
    deployment = a_deployment(tmp_path_factory.mktemp("sealed"), workers=workers, launcher="tests.support.tapped")
    hub = f"127.0.0.1:{free_port()}"
    relays = {"alder": Relay(deployment.endpoints["alder"]), "birch": Relay(hub)}
    deployment.advertised["alder"] = relays["alder"].address
    deployment.gateway_links = relays["birch"].address
    deployment.launched.settings["gateway"] = {"SEALBID_GATEWAY_LINK_LISTEN": hub}
    marker = Marker(os.urandom(64))
    with started(deployment), Caller(deployment) as caller:
        echoed = _infer_on_secret(caller, marker.secret)
        deployment.processes.kill("alder")
        echoed += _infer_on_secret(caller, marker.secret)
        charges = eventually(caller.account, lambda account: account.charges >= 8).charges
        assert charges >= 8, "all receipts are journaled before the search"
        yield Scene(deployment=deployment, relays=relays, marker=marker, echoed=echoed)
    for relay in relays.values():
        relay.close()


def _infer_on_secret(caller: Caller, secret: bytes) -> bytes:
    """Unary and streamed calls whose inputs, outputs and mistakes hold the secret; what came back of one."""
    small = caller.infer(a_request("identity", {"x": numbers(secret)}))
    filler = os.urandom(BIG_BYTES)
    caller.infer(a_request("identity", {"x": numbers(filler[:4096] + secret + filler[4096:])}))
    for text in (secret, secret.hex().encode()):
        request = a_request("tiny", {"prompt": prompt(text)}, max_tokens=4, temperature=0.7, seed=11)
        assert len(list(caller.stream([request]))) == 4
    caller.refused(a_request("identity", {"x": numbers(secret)[0]}))
    caller.refused(a_request("identity", {secret.hex()[:60]: numbers(secret)}, request_id=secret.hex()))
    wrong = a_request("tiny", {"token_ids": np.frombuffer(secret, np.int32)}, max_tokens=4)
    (message,) = caller.stream([wrong])
    assert message.error_message, "tokens outside the vocabulary are refused by the worker"
    with pytest.raises(grpc.RpcError):
        caller.infer(a_request("identity", {"x": numbers(secret)}), seconds=0.000001)
    return small.outputs["y"].tobytes()


def collect(scene: Scene) -> Corpus:
    """Everything the processes sent each other, wrote or show, as it stands now."""
    deployment, corpus = scene.deployment, Corpus()
    for name, relay in scene.relays.items():
        for index, captured in enumerate(relay.captured):
            corpus.blobs[f"tcp {name} {index}"] = bytes(captured)
    for name in ("gateway", "registry", "birch"):
        corpus.blobs[f"metrics {name}"] = deployment.scrape(name)
    for path in sorted(deployment.root.rglob("*")):
        if path.is_file():
            _add_file(corpus, path, str(path.relative_to(deployment.root)))
    return corpus


def _add_file(corpus: Corpus, path: Path, name: str) -> None:
    if path.suffix != ".frames":
        corpus.blobs[f"file {name}"] = path.read_bytes()
        return
    messages = recorded(path)
    corpus.sequences[f"link {name}"] = messages
    outgoing = name.startswith("tap/gateway") == ("-out" in name)
    for call_id, frames in sealed_frames(messages, outgoing=outgoing).items():
        corpus.sequences[f"call {name} {call_id}"] = frames


def test_the_secret_went_through(scene: Scene) -> None:
    """The worker answered with the secret itself, so it was in requests and answers of both links."""
    assert scene.echoed == scene.marker.secret * 2


def test_the_search_covers_every_kind_of_place(scene: Scene) -> None:
    """Raw connections, link messages, frames of single calls, logs, metrics and databases are there."""
    corpus = collect(scene)
    places = ("tcp alder", "tcp birch", "link tap/gateway", "link tap/alder", "link tap/birch", "call tap/gateway")
    files = ("file logs/gateway.log", "file logs/alder.log", "file logs/birch.log", "file logs/registry.log")
    stores = [name for name in corpus.blobs if corpus.blobs[name].startswith(b"SQLite format 3")]
    assert [place for place in (*places, *files, "metrics gateway") if not corpus.named(place)] == []
    assert any("gateway/" in name for name in stores), "the gateway's journal"
    assert any("registry/" in name for name in stores), "the registry's store"
    sent = sum(len(corpus.blobs[name]) for name in corpus.named("tcp"))
    assert sent > 4 * BIG_BYTES, "both big requests and their answers crossed the relays"
    frames = [len(corpus.sequences[name]) for name in corpus.named("call tap/gateway")]
    assert max(frames) > 2, "a call had several frames"


def test_no_trace_of_the_secret_anywhere(scene: Scene) -> None:
    """The secret is in none of these places, in no form."""
    assert collect(scene).search(scene.marker) == []


def test_temporary_files_hold_nothing_and_are_gone(scene: Scene) -> None:
    """Processes leave no temporary files behind that could hold a payload later."""
    left = [path for path in (scene.deployment.root / "tmp").rglob("*") if path.is_file()]
    assert left == []


def test_a_planted_log_line_is_found(scene: Scene) -> None:
    """Positive control: the same search finds the secret in one line of one log."""
    log = scene.deployment.processes.log("gateway")
    genuine = log.read_bytes()
    try:
        log.write_bytes(
            genuine + b'{"event": "request", "input": "' + scene.marker.secret[:24].hex().encode() + b'"}\n'
        )
        found = collect(scene).search(scene.marker)
    finally:
        log.write_bytes(genuine)
    assert {trace.source for trace in found} == {"file logs/gateway.log"}


def test_a_planted_compressed_frame_is_found(scene: Scene) -> None:
    """Positive control: the same search finds the secret in a compressed frame that a border cut in two."""
    corpus = collect(scene)
    name = corpus.named("link tap/gateway")[0]
    packed = zlib.compress(base64.b64encode(b"frame of a request: " + scene.marker.secret))
    corpus.sequences[name] += [os.urandom(100) + packed[:30], packed[30:] + os.urandom(100)]
    found = corpus.search(scene.marker)
    assert found
    assert all(trace.source.startswith(name) and "(base64" in trace.form for trace in found)


def test_a_planted_row_is_found(scene: Scene, tmp_path: Path) -> None:
    """Positive control: the same search finds the secret in a database."""
    (journal,) = [path for path in (scene.deployment.root / "gateway").glob("*.sqlite*") if path.suffix == ".sqlite"]
    copy = tmp_path / "copy.sqlite"
    shutil.copyfile(journal, copy)
    with sqlite3.connect(copy) as database:
        database.execute("CREATE TABLE planted (x BLOB)")
        database.execute("INSERT INTO planted VALUES (?)", (scene.marker.secret,))
    database.close()
    assert [trace.form for trace in scene.marker.scan("copy", copy.read_bytes())] == ["raw"]
