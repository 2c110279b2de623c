# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit policy`: what a policy asks, and what changed between two of them."""

from pathlib import Path

import click

from sealbid.commands.output import json_option, print_json
from sealbid.commands.policy_file import read_policy_file

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(
    short_help="Read and compare appraisal policies.",
    epilog="""\b
Example:
  sealbid audit policy show manifests/policies/production-strict.toml
""",
)
def policy() -> None:
    """Read an appraisal policy rule by rule, or see what changed between two."""


@policy.command(
    short_help="Show every rule of a policy.",
    epilog="""\b
Example:
  sealbid audit policy show manifests/policies/production-strict.toml
""",
)
@click.argument("file", type=_FILE)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show every rule of the policy FILE: a tick for what it checks, a circle and the reason for what it does not."""
    from attestation.audit.policy import view

    shown = view(read_policy_file(file))
    print_json(shown.to_json()) if as_json else click.echo("\n".join(shown.lines()))


@policy.command(
    short_help="Show what changed between two policies.",
    epilog="""\b
Example:
  sealbid audit policy diff production-strict.toml mine.toml
""",
)
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Show every rule in which the policy NEW differs from OLD; `!` marks one that accepts more than before."""
    from attestation.audit.policy_diff import diff as compare

    found = compare(read_policy_file(old), read_policy_file(new))
    print_json(found.to_json()) if as_json else click.echo("\n".join(found.lines()))
