# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit`: check what a registry and a gateway left behind, trusting neither."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from sealbid.commands.audit_evidence import evidence
from sealbid.commands.audit_log import export, fsck, verify
from sealbid.commands.audit_log_questions import QUESTIONS
from sealbid.commands.audit_policy import policy
from sealbid.commands.output import json_option, print_json
from sealbid.commands.ownership import check_ownership


@click.group(
    short_help="Check receipts and evidence, trusting no one.",
    epilog="""\b
Examples:
  sealbid audit receipt receipt.json --trust trust.toml
  sealbid audit evidence capture/ --policy policy.toml
  sealbid audit verify audit.zip --trust trust.toml
""",
)
def audit() -> None:
    """Verify receipts, evidence and whole logs offline. Exits 0 accepted, 10 rejected, 20 undecided, 30 malformed."""


@audit.command(
    short_help="Verify one receipt.",
    epilog="""\b
Examples:
  sealbid audit receipt demo-out/receipts/1.json --trust demo-out/trust.toml
  sealbid audit receipt - --trust trust.toml --json < receipt.json
""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--trust",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Log keys and witness policy to judge by.",
)
@json_option
def receipt(file: Path, trust: Path, as_json: bool) -> None:
    """Verify a receipt FILE (- for stdin) and name its node, verdict, engine, price and attempts."""
    from attestation.audit.receipt import audit_receipt_file

    check_ownership()
    verdict = audit_receipt_file(file, trust, now=datetime.now(UTC))
    if as_json:
        print_json(verdict.to_json())
    else:
        click.echo("\n".join(verdict.lines()))
    sys.exit(verdict.exit)


audit.add_command(evidence)
audit.add_command(policy)
for command in (export, verify, fsck, *QUESTIONS):
    audit.add_command(command)
