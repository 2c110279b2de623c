# SPDX-License-Identifier: Apache-2.0
"""Witnesses and policies for tests: the same key for the same seed, and policy files by what they ask for."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.cosignature import CosignatureSigner
from attestation.tlog.note import LineSigner, SignatureLine, sign_note
from tests.support.log import ORIGIN, log_signer

HEAD = Checkpoint(origin=ORIGIN, size=257, root=b"\x11" * 32)
AT = 1_795_298_405


def witness(seed: int, *, name: str = "", ml_dsa: bool = False) -> CosignatureSigner:
    """The witness of this seed, with an Ed25519 or an ML-DSA-44 key."""
    material = bytes([seed]) * 32
    key = MLDSA44PrivateKey.from_seed_bytes(material) if ml_dsa else Ed25519PrivateKey.from_private_bytes(material)
    return CosignatureSigner(name=name or f"witness.example/w{seed}", key=key)


def log_line_signer(seed: int = 90) -> CosignatureSigner:
    """The test log's own ML-DSA-44 key."""
    return witness(seed, name=ORIGIN, ml_dsa=True)


def policy_text(*lines: str, seeds: Sequence[int] = (1, 2, 3)) -> str:
    """A policy file that defines witnesses W<seed>, then these lines."""
    witnesses = [f"witness W{seed} {witness(seed).verifier.vkey} https://w{seed}.example/" for seed in seeds]
    return "\n".join([f"log {log_signer().verifier.vkey}", *witnesses, *lines, ""])


class Dated:
    """A witness as one of the signers of `sign_note`, cosigning at a fixed time."""

    def __init__(self, signer: CosignatureSigner, at: int) -> None:
        self._signer = signer
        self._at = at

    @property
    def name(self) -> str:
        return self._signer.name

    def sign(self, text: str) -> SignatureLine:
        return self._signer.cosign(text, self._at)


def cosigned(times: dict[int, int], *, head: Checkpoint = HEAD, log: Sequence[LineSigner] | None = None) -> bytes:
    """The note of a head, signed by the log and by the witness of each seed at its time."""
    signers = [log_signer()] if log is None else log
    return sign_note(head.text, [*signers, *(Dated(witness(seed), at) for seed, at in times.items())])
