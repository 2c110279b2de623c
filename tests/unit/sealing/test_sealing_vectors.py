# SPDX-License-Identifier: Apache-2.0
"""The recorded vectors: the code writes them byte for byte, and formulas typed from docs/spec.md lead to them too."""

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from attestation.binding import KeyBinding, Keyset, Profile
from attestation.codec import cbor
from attestation.sealing.batch import WORKER_HALF, HalfProof, verify_half
from attestation.sealing.errors_signed import open_error
from attestation.sealing.grant import open_grant
from tests.vectors import make_sealing_vectors as generator

FOLDER = Path(__file__).parents[2] / "vectors/sealing"
CALLS = ["unary_suite1.json", "unary_suite2.json", "error_suite2.json", "stream_suite2.json"]


def load(name: str) -> dict[str, Any]:
    """A vector file with its hex turned into bytes."""
    found: dict[str, Any] = _bytes(json.loads((FOLDER / name).read_text()))
    return found


def _bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return bytes.fromhex(value)
    except ValueError:
        return value


@pytest.mark.parametrize("name", generator.FILES)
def test_the_recorded_vectors_are_what_the_code_writes(name: str) -> None:
    """A change of one byte on the wire shows here; `python -m tests.vectors.make_sealing_vectors` records it."""
    assert (FOLDER / name).read_text() == generator.rendered(name)


# ---- the formulas of the specification, written out a second time ----------------------------------------------------


def lp(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def label(name: str) -> bytes:
    return lp(b"sealbid/1 " + name.encode())


def digest(name: str, data: bytes) -> bytes:
    return hashlib.sha256(label(name) + data).digest()


def derive(prk: bytes, name: str, context: bytes) -> bytes:
    return hmac.digest(prk, label(name) + lp(context) + b"\x01", "sha256")


def u64(value: int) -> bytes:
    return struct.pack(">Q", value)


def padded(kind: int, data: bytes) -> bytes:
    return (bytes([kind]) + lp(data)).ljust(512, b"\0")


def test_identities_follow_from_the_written_formulas() -> None:
    """Keyset, key, nonce and binding identifiers, and both slots."""
    v = load("identity.json")
    keyset, kb = v["keyset"], v["binding"]
    receipt_key = cbor.decode_map(keyset, "sealbid/keyset/1", 5)[2]
    assert isinstance(receipt_key, bytes)
    assert v["worker_id"] == digest("worker", receipt_key)
    assert v["keyset_id"] == digest("keyset", keyset)
    assert {name: digest("key", v["keyset_id"] + bytes([int(name)])) for name in v["key_ids"]} == v["key_ids"]
    assert v["verifier_nonce"] == digest("challenge", v["challenge"])
    assert v["device_nonce"] == digest("device-nonce", v["verifier_nonce"] + v["keyset_id"])
    assert v["binding_digest"] == digest("binding", kb)
    assert v["report_data"] == hashlib.sha512(label("report-data") + kb).digest()
    assert v["tpm_extra"] == digest("tpm-extra", kb)
    assert v["gateway_id"] == digest("gateway", v["gateway_key"])
    assert KeyBinding.decode(v["development_binding"]).profile is Profile.DEVELOPMENT
    assert {bytes(found) for _, found in KeyBinding.decode(kb).devices} == {
        hashlib.sha256(raw.encode() if isinstance(raw, str) else raw).digest() for _, raw in v["reports"]
    }


@pytest.mark.parametrize("name", CALLS)
def test_sessions_and_wraps_follow_from_the_written_formulas(name: str) -> None:
    """Session id, wrap, dispatch tag and digest."""
    v = load(name)
    c, hh = u64(v["counter"]), digest("request", v["header"])
    session_id = digest("session", lp(v["info"]) + lp(v["ct"]))
    prk = hmac.digest(session_id, v["secret"], "sha256")
    header: Any = cbor.decode_map(v["header"], "sealbid/request/1", 14)
    assert (v["hh"], v["session_id"]) == (hh, session_id)
    assert header[10] == derive(v["cek"], "cek commit", header[1] + header[9])
    wrapped = AESGCM(derive(prk, "wrap key", c + hh)).encrypt(bytes(12), v["cek"], label("wrap") + session_id + c + hh)
    assert v["wrap"] == wrapped
    tag = hmac.digest(derive(prk, "dispatch key", b""), label("dispatch") + v["dispatch"], "sha256")
    assert (v["dispatch_tag"], v["dispatch_digest"]) == (tag, digest("dispatch", v["dispatch"]))


@pytest.mark.parametrize("name", CALLS)
def test_request_frames_follow_from_the_written_formulas(name: str) -> None:
    """The one frame, its transcript and its commitment."""
    v = load(name)
    hh, cek, data = v["hh"], v["cek"], v["plaintext"]
    aad = label("req frame") + hh + u64(0) + b"\x01"
    frame = AESGCM(derive(cek, "request key", hh)).encrypt(bytes(12), padded(1, data), aad)
    assert v["request_frames"] == [frame]
    assert v["req_ct"] == digest("req ct", hh + hashlib.sha256(frame).digest())
    assert v["req_commit"] == hmac.digest(derive(cek, "req salt", hh), data, "sha256")


def response_plaintexts(name: str, half: bytes) -> list[tuple[int, bytes]]:
    """Kind and bytes of each response frame, as the specification says they are made."""
    status = 1 if name.startswith("error") else 0
    trailer = (3, cbor.encode({0: status, 1: half}))
    if name.startswith("error"):
        return [(2, cbor.encode({0: "TENSOR_SHAPE", 1: "shape is [2], want [1]"})), trailer]
    if name.startswith("unary"):
        return [(1, b"Paris"), trailer]
    sums = [hashlib.sha256(part).digest() for part in (b"Pa", b"Pa", b"Paris")]
    chunks = zip((0, 1, 1), sums, (b"Pa", b"", b"ris"), strict=True)
    return [(1, cbor.encode({0: tokens, 1: total, 2: part})) for tokens, total, part in chunks] + [trailer]


@pytest.mark.parametrize("name", CALLS)
def test_response_frames_follow_from_the_written_formulas(name: str) -> None:
    """Every frame, the transcript without the trailer, the commitment, and the half that carries them."""
    v = load(name)
    c, hh, session_id = u64(v["counter"]), v["hh"], v["session_id"]
    prk = hmac.digest(session_id, v["secret"], "sha256")
    plain = response_plaintexts(name, v["worker_half"])
    key = AESGCM(derive(prk, "response key", c + hh))
    frames = []
    for j, (kind, data) in enumerate(plain):
        aad = label("resp frame") + session_id + c + hh + u64(j) + bytes([j == len(plain) - 1])
        frames.append(key.encrypt(b"\0\0\0\1" + u64(j), padded(kind, data), aad))
    assert v["response_frames"] == frames
    assert v["resp_ct"] == digest("resp ct", hh + b"".join(hashlib.sha256(frame).digest() for frame in frames[:-1]))
    data = b"".join(data for kind, data in plain if kind == 1)
    assert v["resp_commit"] == hmac.digest(derive(prk, "resp salt", c + hh), data, "sha256")
    half = cbor.decode_map(v["worker_half"], "sealbid/worker-half/1", 16)
    names = ("dispatch_digest", "hh", "req_ct", "resp_ct", "req_commit", "resp_commit")
    assert [half[key] for key in range(4, 10)] == [v[name] for name in names]
    gateway = cbor.decode_map(v["gateway_half"], "sealbid/gateway-half/1", 11)
    assert gateway[1] == hashlib.sha256(v["worker_half"]).digest()


def test_signatures_verify_over_the_written_structure() -> None:
    """COSE_Sign1 with the purpose as external_aad, over the batch's size and RFC 6962 root."""
    v = load("signatures.json")
    left = [hashlib.sha256(b"\0" + half).digest() for half in v["halves"]]
    root = hashlib.sha256(b"\1" + hashlib.sha256(b"\1" + left[0] + left[1]).digest() + left[2]).digest()
    batch: Any = cbor.decode(v["batch"])
    protected, unprotected, payload, signature = batch
    assert (protected, unprotected, payload) == (bytes.fromhex("a10127"), {}, b"\0\0\0\3" + root)
    signed = cbor.encode(["Signature1", protected, b"sealbid/1 worker-half", payload])
    Ed25519PublicKey.from_public_bytes(v["receipt_key"]).verify(signature, signed)
    for half, proof in zip(v["halves"], v["proofs"], strict=True):
        verify_half(half, HalfProof.decode(proof), public_key=v["receipt_key"], purpose=WORKER_HALF)


def test_signed_errors_and_grants_verify() -> None:
    """Each error names its reason, and the grant its session."""
    v = load("signatures.json")
    for reason, data in v["errors"].items():
        error = open_error(data, receipt_key=v["receipt_key"], session_id=v["session_id"], header_sha256=v["hh"])
        assert error.reason == reason
    identity, one = load("identity.json"), load("unary_suite1.json")
    grant = open_grant(one["grant"], identity["gateway_key"])
    keyset = Keyset.decode(identity["keyset"])
    assert (grant.session_id, grant.gateway_id) == (one["session_id"], identity["gateway_id"])
    assert grant.key_id == keyset.key_id(keyset.suites[0][0])


def test_lengths_of_the_padding_vectors() -> None:
    """Sums are Padmé's of message and heads, rounded up to the quantum."""
    for size, quantum, frames in load("padding.json")["messages"]:
        content = size + 5 * len(frames)
        exponent = content.bit_length() - 1
        step = 1 << max(0, exponent - exponent.bit_length())
        padme = -(-content // step) * step
        assert sum(frames) == -(-max(512, padme) // quantum) * quantum
