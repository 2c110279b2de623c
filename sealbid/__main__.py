# SPDX-License-Identifier: Apache-2.0
"""The `sealbid` command: nouns and verbs over the applications, which are imported only when one runs."""

import os
import sys
from importlib.metadata import version

import click

from sealbid.commands.audit import audit
from sealbid.commands.demo import demo
from sealbid.commands.gateway import gateway
from sealbid.commands.output import Refusing, fail, usage
from sealbid.commands.registry import registry
from sealbid.commands.witness import witness
from sealbid.commands.worker import worker


@click.group(
    cls=Refusing,
    context_settings={
        "auto_envvar_prefix": "SEALBID",
        "help_option_names": ["-h", "--help"],
        "terminal_width": 100,
        "show_default": True,
    },
    epilog="""\b
Examples:
  sealbid demo
  sealbid gateway serve --config gateway.toml
  sealbid audit receipt receipt.json --trust trust.toml
Every flag is also an environment variable: --config of `gateway serve` is SEALBID_GATEWAY_SERVE_CONFIG.
Completion in bash: eval "$(_SEALBID_COMPLETE=bash_source sealbid)"; zsh and fish likewise.
""",
)
@click.version_option(version("sealbid"), prog_name="sealbid", message="%(prog)s %(version)s")
def cli() -> None:
    """Private inference with a market: each request auctioned among attested workers, sealed to the winner."""


for command in (demo, gateway, registry, witness, worker, audit):
    cli.add_command(command)


def main() -> None:
    """Run the command line; wrong usage becomes an error line, a hint and status 2."""
    # What gRPC prints is no line of a log: not JSON, not marked SIMULATED. Every failure is an error of ours anyway.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        cli.main(prog_name="sealbid", standalone_mode=False)
    except click.ClickException as error:
        usage(error)
    except click.Abort:
        fail("interrupted", None, 130)
    sys.exit(0)


if __name__ == "__main__":
    main()
