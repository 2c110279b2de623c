# SPDX-License-Identifier: Apache-2.0
"""What a worker's machine can prove, found out before it registers: signs, the driver's word, and a trial of evidence.

A trial answers a challenge of its own making with keys that are thrown away, so its evidence registers nobody. It is
judged by whoever has verifiers; this module has none, as nothing in a worker does.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from attestation.binding import MAX_CHALLENGE_SECONDS, Challenge
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.tee.tpm.credential import SECRET_BYTES, make_credential
from attestation.tee.tpm.endorsement import read_endorsement_key
from attestation.tee.tpm.public import read_public
from enclave.attesters.detect import Sign, SignState, inspect
from enclave.attesters.device import DeviceFailed
from enclave.attesters.interface import ActivatedAttester, Attester, Duty, answer_challenge
from enclave.attesters.nvml import NVML, CCState
from enclave.keys import KeyCustody

TRIAL: Final = Duty(provider_id=bytes(32), audience="sealbid worker attest", engines=(), config_sha256=bytes(32))
"""For whom a trial is made where no account is named: for nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Evidence made to be looked at."""

    bundle: EvidenceBundle
    simulated: bool


def examine(root: Path, open_library: Callable[[], NVML] | None) -> tuple[Sign, ...]:
    """Every kind's sign, with what NVIDIA's driver says in place of its device file's where `open_library` is given."""
    return tuple(_asked(sign, open_library) for sign in inspect(root))


def try_evidence(attester: Attester, *, nonce: bytes, duty: Duty, now: datetime) -> Trial:
    """A bundle over a challenge whose random part is `nonce` (32 bytes).

    Raises:
        DeviceFailed: a device gave no evidence, or none over what was asked.
    """
    issued = int(now.timestamp())
    challenge = Challenge(
        random=nonce,
        audience=duty.audience,
        provider_id=duty.provider_id,
        checkpoint_sha256=bytes(32),
        issued=issued,
        expires=issued + MAX_CHALLENGE_SECONDS,
    )
    if isinstance(attester, ActivatedAttester):
        _rehearse(attester)
    custody = KeyCustody()
    try:
        bundle = answer_challenge(challenge.encode(), keyset=custody.propose(), duty=duty, attester=attester, now=now)
    finally:
        custody.close()
    return Trial(bundle=bundle, simulated=any(item.kind is TEEKind.SIMULATED for item in bundle.evidence))


def _rehearse(attester: ActivatedAttester) -> None:
    """Has the attester open a credential as a registry's, so that a trial shows whether it can."""
    shown = attester.attestation_key()
    ek = read_endorsement_key(shown.ek_certificate)
    credential = make_credential(ek.key, read_public(shown.public).name, os.urandom(SECRET_BYTES), os.urandom)
    attester.activate(credential)


def _asked(sign: Sign, open_library: Callable[[], NVML] | None) -> Sign:
    if sign.kind is not TEEKind.NVIDIA_GPU or sign.state is not SignState.READY or open_library is None:
        return sign
    try:
        library = open_library()
        try:
            state = library.state()
        finally:
            library.close()
    except DeviceFailed as error:
        remedy = "install a driver of 535 or later, with its library libnvidia-ml.so.1"
        return replace(sign, state=SignState.BLOCKED, seen=error.message, remedy=remedy)
    return _stated(sign, state)


def _stated(sign: Sign, state: CCState) -> Sign:
    seen = f"{state.gpus} GPUs, confidential computing {'on' if state.enabled else 'off'}"
    if not state.enabled:
        remedy = "switch confidential computing on from the host and reset the GPUs (nvidia_gpu_tools --set-cc-mode=on)"
        return replace(sign, state=SignState.BLOCKED, seen=seen, remedy=remedy)
    if state.development_tools:
        remedy = "switch developer tools off from the host (nvidia_gpu_tools --set-cc-mode=on): they open GPU memory"
        return replace(sign, state=SignState.BLOCKED, seen=f"{seen}, in developer tools mode", remedy=remedy)
    if not state.ready:
        remedy = "after attestation, let the GPUs take work: nvidia-smi conf-compute -srs 1"
        return replace(sign, seen=f"{seen}, not yet ready for work", remedy=remedy)
    return replace(sign, seen=f"{seen}, ready for work")
