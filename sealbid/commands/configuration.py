# SPDX-License-Identifier: Apache-2.0
"""Reads the settings of a process for its command: `--config FILE` and the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import click

from attestation.settings import load_settings

T = TypeVar("T")

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML settings of the process; the environment overrides them, unknown keys are refused.",
)


def settings_environment(env: Mapping[str, str], process: str, verbs: tuple[str, ...]) -> dict[str, str]:
    """`env` without the variables that stand for flags of this command (`SEALBID_GATEWAY_SERVE_CONFIG`)."""
    flags = tuple(f"SEALBID_{process}_{verb}_".upper().replace("-", "_") for verb in verbs)
    return {name: value for name, value in env.items() if not name.startswith(flags)}


def read_settings(cls: type[T], config: Path | None) -> T:
    """The settings of the process whose command is running. Raises: `SettingsError`."""
    group = click.get_current_context().parent
    if group is None or group.info_name is None or not isinstance(group.command, click.Group):
        raise TypeError("settings are read inside a verb of a process")
    env = settings_environment(os.environ, group.info_name, tuple(group.command.commands))
    return load_settings(cls, config, env, prefix=f"SEALBID_{group.info_name.upper()}_")
