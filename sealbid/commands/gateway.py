# SPDX-License-Identifier: Apache-2.0
"""`sealbid gateway`: run a gateway, check its settings, make API keys."""

from pathlib import Path

import click

from sealbid.commands.configuration import config_option, read_settings
from sealbid.commands.output import json_option, print_json

ROLES = ("caller", "provider", "operator", "auditor", "gateway")


@click.group(
    short_help="Run a gateway, check its settings, make API keys.",
    epilog="""\b
Examples:
  sealbid gateway new-key --tenant acme --role caller >> keys.toml
  sealbid gateway check-config --config gateway.toml
  sealbid gateway serve --config gateway.toml
""",
)
def gateway() -> None:
    """Take requests, auction each among attested workers, seal it to the winner."""


@gateway.command(
    short_help="Run a gateway.",
    epilog="""\b
Example:
  SEALBID_GATEWAY_LISTEN=127.0.0.1:8001 sealbid gateway serve --config gateway.toml
""",
)
@config_option
def serve(config: Path | None) -> None:
    """Run a gateway until SIGTERM or SIGINT; requests in flight are finished first."""
    from gateway.config import GatewaySettings

    settings = read_settings(GatewaySettings, config)
    from gateway.app import main

    main(settings)


@gateway.command(
    name="check-config",
    short_help="Check settings and start nothing.",
    epilog="""\b
Example:
  sealbid gateway check-config --config gateway.toml --json
""",
)
@config_option
@json_option
def check_config(config: Path | None, as_json: bool) -> None:
    """Read the settings and every file they name, as serve would, and start nothing."""
    from gateway.config import GatewaySettings

    settings = read_settings(GatewaySettings, config)
    from gateway.app import check

    lines = check(settings)
    if as_json:
        print_json({"notes": lines, "verdict": "accepted"})
    else:
        click.echo("\n".join(lines))


@gateway.command(
    name="new-key",
    short_help="Make an API key.",
    epilog="""\b
Example, which keeps the key in a file and adds its hash to the keys file:
  sealbid gateway new-key --tenant acme --role caller >> keys.toml 2> acme.key
""",
)
@click.option("--tenant", required=True, help="Tenant the key authenticates.")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES), help="Role; may be repeated.")
@json_option
def new_key(tenant: str, roles: tuple[str, ...], as_json: bool) -> None:
    """Make an API key for a gateway or a registry: its hash for the keys file on stdout, the key once on stderr."""
    from gateway.auth import new_key as make_key

    key, entry = make_key(tenant, roles)
    if as_json:
        print_json({"entry": entry, "key": key})
        return
    click.echo(key, err=True)
    click.echo(entry)
