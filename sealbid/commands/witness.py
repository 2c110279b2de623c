# SPDX-License-Identifier: Apache-2.0
"""`sealbid witness`: make, run and show a witness of transparency logs (C2SP tlog-witness)."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sealbid.commands.configuration import config_option, read_settings
from sealbid.commands.output import json_option, print_json

if TYPE_CHECKING:
    from attestation.witness.app import Identity


@click.group(
    short_help="Make, run and show a witness of transparency logs.",
    epilog="""\b
Examples:
  sealbid witness init --config witness.toml
  sealbid witness serve --config witness.toml
""",
)
def witness() -> None:
    """Cosign the heads of logs that only ever grow, so that nobody is shown another history."""


@witness.command(
    short_help="Make the keys and an empty memory.",
    epilog="""\b
Example:
  sealbid witness init --config witness.toml --json
""",
)
@config_option
@json_option
def init(config: Path | None, as_json: bool) -> None:
    """Make the keys and an empty memory; prints the keys as policies list them. Refuses a second time."""
    from attestation.witness.config import WitnessSettings

    settings = read_settings(WitnessSettings, config)
    from attestation.witness.app import initialise

    _print(initialise(settings), as_json)


@witness.command(
    short_help="Run a witness.",
    epilog="""\b
Example:
  SEALBID_WITNESS_LISTEN=127.0.0.1:8003 sealbid witness serve --config witness.toml
""",
)
@config_option
def serve(config: Path | None) -> None:
    """Run a witness until SIGTERM or SIGINT."""
    from attestation.witness.config import WitnessSettings

    settings = read_settings(WitnessSettings, config)
    from attestation.witness.app import main

    main(settings)


@witness.command(
    short_help="Show the keys, and how far each log was cosigned.",
    epilog="""\b
Example:
  sealbid witness show --config witness.toml
""",
)
@config_option
@json_option
def show(config: Path | None, as_json: bool) -> None:
    """Show the keys as policies list them, and how far each log was cosigned; also while the witness runs."""
    from attestation.witness.config import WitnessSettings

    settings = read_settings(WitnessSettings, config)
    from attestation.witness.app import show as read_identity

    _print(read_identity(settings), as_json)


def _print(identity: "Identity", as_json: bool) -> None:
    if as_json:
        logs = [{"origin": log.origin, "size": log.size, "trouble": log.trouble} for log in identity.logs]
        print_json({"logs": logs, "name": identity.name, "vkeys": list(identity.vkeys)})
        return
    for vkey in identity.vkeys:
        click.echo(vkey)
    for log in identity.logs:
        click.echo(f"{log.origin}  {log.trouble or ('nothing cosigned' if log.size is None else f'size {log.size}')}")
