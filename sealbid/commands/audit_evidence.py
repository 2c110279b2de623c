# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit evidence`: is this evidence genuine, and would this policy accept it, at this time?"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from typing_extensions import override

from sealbid.commands.output import json_option, print_json
from sealbid.commands.ownership import check_ownership
from sealbid.commands.policy_file import read_policy_file


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
@json_option
def evidence(
    paths: tuple[Path, ...],
    policy: Path,
    at: datetime | None,
    collateral: tuple[Path, ...],
    nonce: bytes | None,
    as_json: bool,
) -> None:
    """Judge evidence in files and folders, offline. Kinds are recognised; a folder is one machine.

    Says of each PATH whether it is genuine and whether the policy accepts it, with every finding, what mends it, and
    what stays unproven. The exit status is the worst of all: 0 accepted, 10 rejected, 20 undecided, 30 malformed.
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
    verdicts = [audit(read_subject(path), given, question) for path in paths]
    if as_json:
        print_json(to_json(verdicts))
    else:
        click.echo("\n".join(lines(verdicts)))
    sys.exit(worst_exit(verdicts))
