# SPDX-License-Identifier: Apache-2.0
"""`sealbid worker doctor` and `sealbid worker attest`: what this machine can prove, before anything is registered."""

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from attestation.binding import Profile
from attestation.errors import AttestationError, Reason, SettingsError
from attestation.exits import Exit
from sealbid.commands.audit_evidence import Hex
from sealbid.commands.configuration import config_option, read_settings
from sealbid.commands.output import fail, json_option, print_json, refuse
from sealbid.commands.ownership import check_ownership
from sealbid.commands.policy_file import read_policy_file

if TYPE_CHECKING:
    from attestation.appraisal.policy import AppraisalPolicy
    from enclave.attesters.detect import Sign
    from enclave.attesters.interface import Attester, Duty
    from enclave.onboarding.doctor import Trial
    from sealbid.commands.worker_diagnosis import Diagnosis

NONCE_BYTES: Final = 32

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    help="Where the machine's /dev, /proc and /sys are found.",
)


@click.command(
    short_help="Say what this machine can prove.",
    epilog="""\b
Examples:
  sealbid worker doctor
  sealbid worker doctor --policy manifests/policies/production-strict.toml --json
""",
)
@config_option
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False),
    help="An appraisal policy to try this machine's evidence against.",
)
@root_option
@json_option
def doctor(config: Path | None, policy: Path | None, root: Path, as_json: bool) -> None:
    """Say which TEEs this machine has, what stands in the way of using them, and what a policy would say.

    Makes evidence on trial with throw-away keys, which registers nobody, by the attester --config names or the one
    that would be chosen. Exits 0 if that worked and the policy accepts it, 10 rejected, 20 undecided or no evidence.
    """
    from enclave.attesters.nvml import NVMLLibrary
    from enclave.onboarding.doctor import examine

    check_ownership()
    rules = None if policy is None else read_policy_file(policy)
    signs = examine(root, NVMLLibrary.load if root == Path("/") else None)
    found = _diagnose(signs, config, rules, root)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo("\n".join(found.lines()))
    sys.exit(found.exit)


@click.command(
    short_help="Make evidence of this machine.",
    epilog="""\b
Examples:
  sealbid worker attest --out evidence.cbor
  sealbid worker attest --nonce 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff > evidence.cbor
""",
)
@config_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("-"),
    help="Where the evidence goes; - for stdout.",
)
@click.option("--nonce", type=Hex(), default=None, help="32 bytes the evidence must answer, in hex; random if absent.")
@root_option
@json_option
def attest(config: Path | None, out: Path, nonce: bytes | None, root: Path, as_json: bool) -> None:
    """Make an evidence bundle of this machine with throw-away keys, which registers nobody.

    `sealbid audit evidence` judges it. It holds identities of this machine: give it to nobody who should not know them.
    """
    from sealbid.commands.worker_diagnosis import made

    check_ownership()
    if nonce is not None and len(nonce) != NONCE_BYTES:
        raise click.BadParameter(f"{len(nonce)} bytes, want {NONCE_BYTES}", param_hint="'--nonce'")
    if as_json and out == Path("-"):
        raise click.UsageError("--json goes to stdout, so --out must name a file")
    asked = os.urandom(NONCE_BYTES) if nonce is None else nonce
    try:
        trial = _try(config, Profile.PRODUCTION, root, asked)
    except AttestationError as error:
        if as_json:
            refuse(error, as_json=True)
        fail(f"{error.message} ({error.reason})", "`sealbid worker doctor` says what stands in the way", Exit.UNDECIDED)
    _write(out, trial.bundle.encode())
    if as_json:
        print_json({**made(trial), "nonce": asked.hex()})
    elif trial.simulated:
        click.echo("SIMULATED: this evidence proves nothing about any machine", err=True)


def _diagnose(
    signs: "tuple[Sign, ...]", config: Path | None, policy: "AppraisalPolicy | None", root: Path
) -> "Diagnosis":
    from attestation.audit.evidence import Question
    from attestation.verifiers import verifiers_for
    from sealbid.commands.worker_diagnosis import Diagnosis, judge

    try:
        trial = _try(config, policy.profile if policy else Profile.PRODUCTION, root, os.urandom(NONCE_BYTES))
    except AttestationError as error:
        return Diagnosis(signs=signs, trial=None, error=error, verdict=None)
    if policy is None:
        return Diagnosis(signs=signs, trial=trial, error=None, verdict=None)
    question = Question(policy=policy, verifiers=verifiers_for(policy.profile), now=datetime.now(UTC))
    return Diagnosis(signs=signs, trial=trial, error=None, verdict=judge(trial, question))


def _try(config: Path | None, profile: Profile, root: Path, nonce: bytes) -> "Trial":
    """Evidence over `nonce`. Raises `AttestationError`: no attester here (UNSUPPORTED), or its device failed."""
    from enclave.onboarding.doctor import try_evidence

    attester, duty = _local(profile, root) if config is None else _configured(config, root)
    return try_evidence(attester, nonce=nonce, duty=duty, now=datetime.now(UTC))


def _local(profile: Profile, root: Path) -> "tuple[Attester, Duty]":
    """The attester that `auto` chooses on this machine, for nobody."""
    from enclave.attesters.detect import AttesterChoice, choose_attester, inspect
    from enclave.attesters.local import local_attesters
    from enclave.onboarding.doctor import TRIAL

    makers = local_attesters(profile, root=root)
    try:
        return choose_attester(AttesterChoice.AUTO, signs=inspect(root), makers=makers), TRIAL
    except SettingsError as error:
        raise AttestationError(Reason.UNSUPPORTED, error.message) from None


def _configured(config: Path, root: Path) -> "tuple[Attester, Duty]":
    """The attester that the settings name, for their account and registry. Raises `SettingsError` for wrong ones."""
    from attestation.identity import provider_id
    from attestation.trust import load_trust
    from enclave.app import configured_attester
    from enclave.config import WorkerSettings
    from enclave.onboarding.doctor import TRIAL

    settings = read_settings(WorkerSettings, config)
    trust = load_trust(settings.trust_file, "trust_file")
    duty = replace(TRIAL, provider_id=provider_id(settings.provider), audience=trust.origin)
    return configured_attester(settings, trust.profile, root=root), duty


def _write(path: Path, data: bytes) -> None:
    """Writes to stdout, or to a file that only its owner may read."""
    if path == Path("-"):
        sys.stdout.buffer.write(data)
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise SettingsError(f"--out cannot be written: {os.strerror(error.errno or 0).lower()}") from None
