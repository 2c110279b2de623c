# SPDX-License-Identifier: Apache-2.0
"""What a command prints and how it ends: results on stdout, `sealbid: error:` and `sealbid: hint:` on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import NoReturn

import click
from typing_extensions import override

from attestation.errors import Reason, SealbidError
from attestation.exits import Exit, exit_code

HINTS: Mapping[Reason, str] = {
    Reason.SETTINGS_INVALID: "correct the file, variable or flag that says this; `--help` lists what the command takes",
    Reason.PEER_UNAVAILABLE: "nothing answered at this address; is it right, and does the process run?",
    Reason.UNAUTHENTICATED: "`sealbid gateway new-key` makes a key; only its hash goes into the keys file",
    Reason.COLLATERAL_UNAVAILABLE: "nothing was accepted; try again when the collateral source answers",
    Reason.CHECKPOINT_INVALID: "the file given as --trust must hold the log key of the registry that issued this",
    Reason.PROOF_INVALID: "the file given as --trust must hold the log key of the registry that issued this",
    Reason.REVOCATION_STALE: "the registry's heartbeat is too old; check that the registry is reachable",
    Reason.SIMULATED_REFUSED: 'simulated evidence protects nothing; only profile = "development" takes it',
}

_AS_JSON = "sealbid.as_json"


def _remember(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    context.meta[_AS_JSON] = value
    return value


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_remember, help="Print one JSON object on stdout and nothing else."
)


class Refusing(click.Group):
    """The group at the root: a refusal below it becomes an error line, a hint and an exit code, or JSON if asked."""

    @override
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SealbidError as error:
            refuse(error, as_json=ctx.meta.get(_AS_JSON, False))


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON object on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True))


def fail(message: str, hint: str | None, code: int) -> NoReturn:
    """Print the error, and a hint if there is one, to stderr and exit."""
    click.echo(f"sealbid: error: {message}", err=True)
    if hint:
        click.echo(f"sealbid: hint: {hint}", err=True)
    sys.exit(code)


def refuse(error: SealbidError, *, as_json: bool = False) -> NoReturn:
    """End with the exit code of a refusal; with `as_json` the verdict goes to stdout and stderr stays empty."""
    code = exit_code(error)
    if as_json:
        findings = [str(finding) for finding in getattr(error, "findings", ())]
        print_json(
            {
                "exit": int(code),
                "findings": findings,
                "message": error.message,
                "reason": str(error.reason),
                "verdict": code.name.lower(),
            }
        )
        sys.exit(code)
    fail(f"{error.message} ({error.reason})", HINTS.get(error.reason), code)


def usage(error: click.ClickException) -> NoReturn:
    """End with the exit code of a wrong command line; a noun without a verb shows its help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        sys.exit(Exit.USAGE)
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"`{context.command_path} --help` shows what it takes" if context else None
    text = error.format_message().rstrip(".").replace("\n", " ")
    fail(text[:1].lower() + text[1:], hint, Exit.USAGE)
