# SPDX-License-Identifier: Apache-2.0
"""`sealbid demo`: the whole of Sealbid on one machine, with a client nobody here wrote."""

import sys
from pathlib import Path

import click

from sealbid.commands.output import json_option


@click.command(
    short_help="Run all of Sealbid on this machine.",
    epilog="""\b
Example:
  sealbid demo --output demo-out
""",
)
@click.option(
    "--output",
    "output_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for settings, logs and receipts of the run.",
)
@json_option
def demo(output_dir: Path, as_json: bool) -> None:
    """Start a registry, a gateway and four workers here, send real requests, kill a worker, audit every receipt.

    The workers run on a SIMULATED TEE, which protects nothing. Exits 0 only if everything held.
    """
    from sealbid.demo import run

    sys.exit(run(output_dir=output_dir, json_output=as_json))
