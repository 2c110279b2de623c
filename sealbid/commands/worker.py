# SPDX-License-Identifier: Apache-2.0
"""`sealbid worker`: run a worker, and say beforehand what its machine can prove."""

from pathlib import Path

import click

from sealbid.commands.configuration import config_option, read_settings
from sealbid.commands.worker_evidence import attest, doctor


@click.group(
    short_help="Run a worker.",
    epilog="""\b
Examples:
  sealbid worker serve --config worker.toml
  sealbid worker doctor
""",
)
def worker() -> None:
    """Attest, offer, open sealed requests, run the model, answer and sign."""


@worker.command(
    short_help="Run a worker.",
    epilog="""\b
Example:
  SEALBID_WORKER_LOG_LEVEL=debug sealbid worker serve --config worker.toml
""",
)
@config_option
def serve(config: Path | None) -> None:
    """Run a worker until SIGTERM or SIGINT; keys are made at start and never written."""
    from enclave.config import WorkerSettings

    settings = read_settings(WorkerSettings, config)
    from enclave.app import main

    main(settings)


worker.add_command(doctor)
worker.add_command(attest)
