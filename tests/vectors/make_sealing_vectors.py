# SPDX-License-Identifier: Apache-2.0
"""Writes the vectors of docs/spec.md into tests/vectors/sealing: `python -m tests.vectors.make_sealing_vectors`.

All keys, secrets and random fields are fixed, so that each run writes the same bytes. ML-KEM's encapsulation takes no
randomness from outside: its ciphertext was recorded once (`ml_kem_ct.hex`), and the shared secret follows from the
seed of the private key. Everything else of the session's ciphertext is made by `independent_hpke`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.binding import Challenge, KeyBinding, Keyset, Profile, SuiteID, device_nonce
from attestation.codec import cbor
from attestation.errors import Reason
from attestation.identity import gateway_id_of
from attestation.sealing import batch, schedule
from attestation.sealing.errors_signed import SignedError, sign_error
from attestation.sealing.frames import padded_frames
from attestation.sealing.grant import GrantedTransport
from attestation.sealing.halves import GatewayHalf, Outcome, WorkerHalf, WorkerStatus, worker_half_digest
from attestation.sealing.header import Method, RequestLimits
from attestation.sealing.incoming import IncomingCall, OpenedCall
from attestation.sealing.replay import RequestIDs
from attestation.sealing.request import SealedRequest, seal_request
from attestation.sealing.rotation import KeyRing
from attestation.sealing.session import Role, SenderSession, SessionInfo
from attestation.sealing.suite import HPKEKeyPair
from attestation.sealing.worker_session import KeyGeneration, suites_of
from tests.support.independent_hpke import x25519_seal, xwing_seal
from tests.support.sealing import FixedEntropy, OffersNamed, RecordingGuard, attested

FOLDER = Path(__file__).parent / "sealing"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUED = int(NOW.timestamp())


def digest(name: str) -> bytes:
    """32 bytes that stand for whatever `name` says."""
    return hashlib.sha256(b"vector " + name.encode()).digest()


ML_KEM = MLKEM768PrivateKey.from_seed_bytes(digest("ml-kem seed, first half") + digest("ml-kem seed, second half"))
X25519_1 = X25519PrivateKey.from_private_bytes(digest("x25519 of suite 1"))
X25519_2 = X25519PrivateKey.from_private_bytes(digest("x25519 of suite 2"))
EPHEMERAL = X25519PrivateKey.from_private_bytes(digest("ephemeral x25519"))
RECEIPT_KEY = Ed25519PrivateKey.from_private_bytes(digest("receipt key"))
GATEWAY_KEY = Ed25519PrivateKey.from_private_bytes(digest("gateway key"))
GATEWAY_ID = gateway_id_of(GATEWAY_KEY.public_key().public_bytes_raw())
ML_KEM_CT = bytes.fromhex((FOLDER / "ml_kem_ct.hex").read_text().strip())
PAIRS = (HPKEKeyPair(x25519=X25519_1, mlkem768=ML_KEM), HPKEKeyPair(x25519=X25519_2, mlkem768=None))

KEYSET = Keyset(
    suites=suites_of(PAIRS),
    receipt_key=RECEIPT_KEY.public_key().public_bytes_raw(),
    tls_spki_sha256=digest("tls spki"),
    generation=1,
)
CHALLENGE = Challenge(
    random=digest("challenge random"),
    audience="log.example/evidence",
    provider_id=digest("provider"),
    checkpoint_sha256=digest("checkpoint note"),
    issued=ISSUED,
    expires=ISSUED + 60,
)
REPORTS = (("gpu", b"request and response of a gpu"), ("switch", b"request and response of a switch"))
BINDING = KeyBinding(
    profile=Profile.PRODUCTION,
    purpose="worker",
    verifier_nonce=CHALLENGE.verifier_nonce,
    keyset_id=KEYSET.keyset_id,
    provider_id=CHALLENGE.provider_id,
    audience=CHALLENGE.audience,
    devices=tuple(sorted(((kind, hashlib.sha256(raw).digest()) for kind, raw in REPORTS), key=lambda entry: entry[1])),
    engines=tuple(sorted((digest("engine a"), digest("engine b")))),
    config_sha256=digest("configuration"),
    not_after=ISSUED + 3600,
)


def identity() -> dict[str, Any]:
    """Keyset, challenge, binding and slots (spec 3)."""
    development = dataclasses.replace(BINDING, profile=Profile.DEVELOPMENT)
    return {
        "keyset": KEYSET.encode(),
        "worker_id": KEYSET.worker_id,
        "keyset_id": KEYSET.keyset_id,
        "key_ids": {str(int(suite)): KEYSET.key_id(suite) for suite, _ in KEYSET.suites},
        "challenge": CHALLENGE.encode(),
        "verifier_nonce": CHALLENGE.verifier_nonce,
        "device_nonce": device_nonce(CHALLENGE.verifier_nonce, KEYSET.keyset_id),
        "reports": [[kind, raw] for kind, raw in REPORTS],
        "binding": BINDING.encode(),
        "binding_digest": BINDING.digest,
        "report_data": BINDING.report_data(),
        "tpm_extra": BINDING.tpm_extra(),
        "development_binding": development.encode(),
        "development_binding_digest": development.digest,
        "gateway_key": GATEWAY_KEY.public_key().public_bytes_raw(),
        "gateway_id": GATEWAY_ID,
    }


def fixed_seal(suite: SuiteID, public_key: bytes, info: bytes, secret: bytes) -> bytes:
    """`seal` with fixed ephemeral keys."""
    if suite is SuiteID.X25519:
        return x25519_seal(public_key, EPHEMERAL, info, secret)
    return xwing_seal(public_key, (ML_KEM.decapsulate(ML_KEM_CT), ML_KEM_CT), EPHEMERAL, info, secret)


def limits(method: Method) -> RequestLimits:
    """A caller's limits with every field set."""
    return RequestLimits(
        method=method,
        model="magika",
        intent_sha256=digest("intent"),
        policy_sha256=digest("policy"),
        max_price_nanos=500,
        expires=ISSUED + 30,
        constraints=cbor.encode({0: ["eu"], 1: 3600}),
        flush_ms=20 if method is Method.STREAM else 0,
    )


def open_at_worker(session: SenderSession, call: IncomingCall) -> OpenedCall:
    """What the worker makes of the call."""
    gateway_key = GATEWAY_KEY.public_key().public_bytes_raw()
    transport = GrantedTransport(gateway_id=GATEWAY_ID, gateway_key=gateway_key)
    transport.admit(session.grant(GATEWAY_KEY, expires=ISSUED + 3600), now=NOW)
    ring = KeyRing(seen=RequestIDs())
    ring.install(KeyGeneration(keyset=KEYSET, keypairs=PAIRS), not_after=BINDING.not_after, now=NOW)
    return ring.open(call, transport=transport, offers=OffersNamed({digest("offer")}), now=NOW)


def half_of(opened: OpenedCall, status: WorkerStatus) -> WorkerHalf:
    """The worker's half."""
    return opened.half(
        worker_id=KEYSET.worker_id,
        keyset_id=KEYSET.keyset_id,
        binding_digest=BINDING.digest,
        engine_sha256=digest("engine a"),
        units=1000,
        status=status,
        started=ISSUED + 1,
        ended=ISSUED + 2,
        seq=41,
    )


def answer(opened: OpenedCall, status: WorkerStatus) -> tuple[list[bytes], WorkerHalf]:
    """The response frames and the half in the last of them."""
    response = opened.response
    if opened.header.limits.method is Method.STREAM:
        frames = [*response.chunk(b"Pa", 1), *response.chunk(b""), *response.chunk(b"ris", 1)]
    elif status is WorkerStatus.OK:
        frames = response.message(b"Paris")
    else:
        frames = [response.error("TENSOR_SHAPE", "shape is [2], want [1]")]
    half = half_of(opened, status)
    return [*frames, response.trailer(status, half.encode())], half


def call(suite: SuiteID, method: Method, status: WorkerStatus) -> dict[str, Any]:
    """One request from the session to the halves (spec 4 to 7 and 9)."""
    entropy = FixedEntropy(f"vector {int(suite)} {int(method)} {int(status)}")
    key = attested(KEYSET, suite, policy_sha256=digest("policy"))
    with patch("attestation.sealing.session.seal", fixed_seal):
        session = SenderSession(
            key, role=Role.GATEWAY, max_requests=65536, guard=RecordingGuard(), entropy=entropy, now=NOW
        )
    info, ct = session.establishment or (b"", b"")
    plaintext = b"What is the capital of France?"
    request = seal_request(limits(method), plaintext, entropy=entropy)
    wrapped = session.wrap(request, now=NOW)
    signed = session.dispatch(
        wrapped.ref,
        attempt=1,
        award_sha256=digest("award"),
        offer_id=digest("offer"),
        price_nanos=400,
        gateway_id=GATEWAY_ID,
        deadline_ms=30_000,
    )
    opened = open_at_worker(
        session,
        IncomingCall(
            session_id=session.session_id,
            info=info,
            ct=ct,
            header=request.header_bytes,
            counter=wrapped.ref.counter,
            wrap=wrapped.wrap,
            dispatch=signed.dispatch,
            tag=signed.tag,
            frame=request.frames[0],
            final=True,
        ),
    )
    frames, half = answer(opened, status)
    for index, frame in enumerate(frames):
        wrapped.opener.feed(frame, index == len(frames) - 1)
    wrapped.opener.finish(dispatch_sha256=signed.digest)
    return {
        "suite": int(suite),
        "info": info,
        "ct": ct,
        "secret": opened_secret(suite, info, ct),
        "session_id": session.session_id,
        "grant": session.grant(GATEWAY_KEY, expires=ISSUED + 3600),
        **request_part(request),
        "plaintext": plaintext,
        "counter": wrapped.ref.counter,
        "wrap": wrapped.wrap,
        "dispatch": signed.dispatch,
        "dispatch_tag": signed.tag,
        "dispatch_digest": signed.digest,
        "response_frames": frames,
        "resp_ct": half.resp_ct,
        "resp_commit": half.resp_commit,
        **receipt_part(half, signed.digest, request.request_id),
    }


def opened_secret(suite: SuiteID, info: bytes, ct: bytes) -> bytes:
    """The session's secret, as the worker finds it."""
    pair = next(pair for pair in PAIRS if pair.suite == suite)
    secret = pair.open(info, ct)
    assert SessionInfo.decode(info).key_id == KEYSET.key_id(suite)
    assert schedule.session_id(info, ct)
    return secret


def request_part(request: SealedRequest) -> dict[str, Any]:
    """What does not depend on the worker."""
    return {
        "cek": request.cek,
        "header": request.header_bytes,
        "hh": request.header_sha256,
        "request_frames": list(request.frames),
        "req_ct": request.transcript.ct_sha256,
        "req_commit": request.transcript.commit,
    }


def receipt_part(half: WorkerHalf, dispatch_sha256: bytes, request_id: bytes) -> dict[str, Any]:
    """Both halves."""
    ok = half.status is WorkerStatus.OK
    gateway = GatewayHalf(
        worker_half_sha256=worker_half_digest(half.encode()),
        award_sha256=digest("award"),
        price_nanos=400,
        dispatches=(dispatch_sha256,),
        gateway_id=GATEWAY_ID,
        seq=7,
        request_id=request_id,
        outcome=Outcome.ANSWERED if ok else Outcome.REFUSED,
        charge_nanos=400 if ok else 0,
        time=ISSUED + 3,
    )
    return {"worker_half": half.encode(), "gateway_half": gateway.encode()}


def signatures() -> dict[str, Any]:
    """A batch of three halves and every signed error (spec 7.5 and 9.4)."""
    opened = [call(SuiteID.X25519, Method.INFER, status)["worker_half"] for status in (WorkerStatus.OK,) * 3]
    halves = [dataclasses.replace(WorkerHalf.decode(half), seq=seq).encode() for seq, half in enumerate(opened)]
    signed = batch.sign_batch(RECEIPT_KEY, batch.WORKER_HALF, halves)
    told = {"session_id": digest("session"), "header_sha256": digest("header"), "keyset_id": KEYSET.keyset_id}
    errors = (Reason.UNKNOWN_SESSION, Reason.SESSION_CLOSED, Reason.KEY_RETIRED, Reason.DUPLICATE_REQUEST)
    return {
        "receipt_key": KEYSET.receipt_key,
        "halves": halves,
        "batch": signed.cose,
        "proofs": [signed.proof(index).encode() for index in range(3)],
        "session_id": told["session_id"],
        "hh": told["header_sha256"],
        "errors": {reason: sign_error(RECEIPT_KEY, SignedError(reason=reason, **told)) for reason in errors},
    }


def padding() -> dict[str, Any]:
    """Message lengths, quanta and the lengths of P (spec 6.2)."""
    lengths = (0, 507, 508, 1000, 65_536, 614_400, 1_032_187, 1_032_188, 1_048_059, 3_000_000)
    return {
        "messages": [[size, quantum, list(padded_frames(size, quantum))] for size in lengths for quantum in (512, 4096)]
    }


FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "identity.json": identity,
    "unary_suite1.json": lambda: call(SuiteID.MLKEM768_X25519, Method.INFER, WorkerStatus.OK),
    "unary_suite2.json": lambda: call(SuiteID.X25519, Method.INFER, WorkerStatus.OK),
    "error_suite2.json": lambda: call(SuiteID.X25519, Method.INFER, WorkerStatus.INVALID),
    "stream_suite2.json": lambda: call(SuiteID.X25519, Method.STREAM, WorkerStatus.OK),
    "signatures.json": signatures,
    "padding.json": padding,
}


def rendered(name: str) -> str:
    """The text of one vector file: bytes in lower-case hex."""
    return json.dumps(FILES[name](), indent=1, default=bytes.hex) + "\n"


def main() -> None:
    """Writes every file."""
    for name in FILES:
        (FOLDER / name).write_text(rendered(name))


if __name__ == "__main__":
    main()
