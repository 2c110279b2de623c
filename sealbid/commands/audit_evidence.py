# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit evidence`: is this evidence genuine, and would this policy accept it, at this time?"""

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from attestation.errors import SettingsError
from sealbid.commands.output import json_option, print_json
from sealbid.commands.ownership import check_ownership
from sealbid.commands.policy_file import read_policy_file

if TYPE_CHECKING:
    from attestation.audit.evidence import Subject
    from attestation.audit.judgement import Verdict


class Time(click.ParamType[datetime]):
    """A moment in RFC 3339 with its offset; a time without one could be anybody's."""

    name = "time"

    @override
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            moment = datetime.min  # noqa: DTZ901  # has no offset, and is refused for that below
        if moment.tzinfo is None:
            self.fail(f"{value!r} is not a time as 2026-04-24T02:10:37Z", param, ctx)
        return moment.astimezone(UTC)


class Hex(click.ParamType[bytes]):
    """Bytes in hexadecimal."""

    name = "hex"

    @override
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return bytes.fromhex(str(value))
        except ValueError:
            self.fail(f"{value!r} is not hexadecimal", param, ctx)


@click.command(
    short_help="Verify and appraise evidence.",
    epilog="""\b
Examples:
  sealbid audit evidence quote.bin --collateral collateral.json --policy production-strict.toml
  sealbid audit evidence capture/ --at 2026-04-24T02:10:37Z --policy mine.toml --json
""",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--policy",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The appraisal policy to judge by.",
)
@click.option("--at", type=Time(), default=None, help="The moment to judge at; now, unless given.")
@click.option(
    "--collateral",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="A file or folder of endorsements; may be repeated.",
)
@click.option("--nonce", type=Hex(), default=None, help="The nonce the evidence must answer, in hex.")
@click.option(
    "--ear",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the result as an EAR: FILE.json, or signed as FILE.cwt or FILE.jwt.",
)
@click.option(
    "--ear-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key that signs it: a PEM file, Ed25519 or P-256.",
)
@click.option(
    "--cmw",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write an archived bundle as a CMW collection: FILE.json, or any other name for CBOR.",
)
@json_option
def evidence(
    paths: tuple[Path, ...],
    policy: Path,
    at: datetime | None,
    collateral: tuple[Path, ...],
    nonce: bytes | None,
    ear: Path | None,
    ear_key: Path | None,
    cmw: Path | None,
    as_json: bool,
) -> None:
    """Judge evidence in files and folders, offline. Kinds are recognised; a folder is one machine.

    Says of each PATH whether it is genuine and whether the policy accepts it, with every finding, what mends it, and
    what stays unproven. The exit status is the worst of all: 0 accepted, 10 rejected, 20 undecided, 30 malformed.

    --ear and --cmw take one PATH. A collection holds raw identities of machines: it is for auditors.
    """
    from attestation.audit.evidence import audit
    from attestation.audit.evidence_files import read_collateral, read_subject
    from attestation.audit.evidence_view import lines, to_json, worst_exit
    from attestation.audit.judgement import Question
    from attestation.verifiers import verifiers_for

    check_ownership()
    rules = read_policy_file(policy)
    question = Question(policy=rules, verifiers=verifiers_for(rules.profile), now=at or datetime.now(UTC), nonce=nonce)
    given = read_collateral(collateral)
    if (ear or cmw) and len(paths) != 1:
        raise SettingsError(f"--ear and --cmw are given with {len(paths)} paths, want one")
    subjects = [read_subject(path) for path in paths]
    verdicts = [audit(subject, given, question) for subject in subjects]
    _write_results(verdicts[0], subjects[0], nonce, ear, ear_key, cmw)
    if as_json:
        print_json(to_json(verdicts))
    else:
        click.echo("\n".join(lines(verdicts)))
    sys.exit(worst_exit(verdicts))


def _write_results(
    verdict: "Verdict",
    subject: "Subject",
    nonce: bytes | None,
    ear: Path | None,
    ear_key: Path | None,
    cmw: Path | None,
) -> None:
    from attestation.audit.results import MAX_KEY_BYTES, cmw_of, ear_of, read_signing_key, write_ear
    from attestation.files import read_file

    if ear_key and not ear:
        raise SettingsError("--ear-key is given without --ear, want both")
    if ear:
        key = read_signing_key(read_file(ear_key, "--ear-key", MAX_KEY_BYTES)) if ear_key else None
        result = ear_of(verdict, build=f"sealbid {version('sealbid')}", nonce=nonce)
        _write(ear, write_ear(result, ear.name, key))
    if cmw:
        _write(cmw, cmw_of(subject, cmw.name))


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be written: {os.strerror(error.errno or 0).lower()}") from None
