# SPDX-License-Identifier: Apache-2.0
"""`sealbid registry`: make, run and operate the registry and its evidence log."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sealbid.commands.configuration import config_option, read_settings
from sealbid.commands.output import json_option, print_json


@click.group(
    short_help="Make, run and operate the registry and its log.",
    epilog="""\b
Examples:
  sealbid registry init --config registry.toml
  sealbid registry serve --config registry.toml
""",
)
def registry() -> None:
    """Judge evidence, grant and revoke leases, keep the log of every verdict."""


@registry.command(
    short_help="Make keys and the first log entry.",
    epilog="""\b
Example:
  sealbid registry init --config registry.toml --json
""",
)
@config_option
@json_option
def init(config: Path | None, as_json: bool) -> None:
    """Make the log and lease keys and the first log entry; prints where the trust file is. Refuses a second time."""
    from attestation.server.admin import initialise
    from attestation.server.config import RegistrySettings

    trust = initialise(read_settings(RegistrySettings, config), now=datetime.now(UTC))
    if as_json:
        print_json({"trust": str(trust)})
    else:
        click.echo(trust)


@registry.command(
    short_help="Run the registry and its log.",
    epilog="""\b
Example:
  SEALBID_REGISTRY_LISTEN=127.0.0.1:8002 sealbid registry serve --config registry.toml
""",
)
@config_option
def serve(config: Path | None) -> None:
    """Run the registry and its log until SIGTERM or SIGINT."""
    from attestation.server.config import RegistrySettings

    settings = read_settings(RegistrySettings, config)
    from attestation.server.app import main

    main(settings)


def parse_keyset(context: click.Context, parameter: click.Parameter, text: str) -> bytes:
    """A keyset id: 64 lower-case hexadecimal digits."""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise click.BadParameter(
            f"got {len(text)} characters, want 64 lower-case hexadecimal digits", context, parameter
        )
    return bytes.fromhex(text)


@registry.command(
    short_help="End the leases of a keyset.",
    epilog="""\b
Example:
  sealbid registry revoke --address 127.0.0.1:8002 --api-key-file operator.key --reason "key leaked" KEYSET
""",
)
@click.option("--address", required=True, help="host:port of the registry.")
@click.option(
    "--api-key-file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that holds a key with the operator role.",
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates the registry's own must chain to; without it the connection is plaintext.",
)
@click.option("--reason", required=True, help="Why; it is written to the log.")
@click.argument("keyset", callback=parse_keyset)
@json_option
def revoke(address: str, api_key_file: Path, ca_file: Path | None, reason: str, keyset: bytes, as_json: bool) -> None:
    """End every lease of KEYSET at once and log it."""
    from attestation.server.admin import revoke as revoke_keyset

    index = revoke_keyset(
        address,
        api_key_file=api_key_file,
        ca_file=ca_file,
        keyset_id=keyset,
        reason=reason,
    )
    if as_json:
        print_json({"entry": index, "keyset": keyset.hex()})
    else:
        click.echo(f"revoked {keyset.hex()} in log entry {index}")
