# SPDX-License-Identifier: Apache-2.0
"""Refuses to verify anything in an environment where another distribution also owns our import names.

`attestation`, `gateway` and `enclave` are common words: a second distribution that installs one of them could replace
the code that judges. Give Sealbid an environment of its own.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions

from attestation.errors import SettingsError

NAMES = ("attestation", "gateway", "enclave", "sealbid", "sealbid_oip", "sealbid_wire")


def check_ownership(owners: Mapping[str, Iterable[str]] | None = None) -> None:
    """Raises: `SettingsError` naming the distribution that owns one of our names beside `sealbid`."""
    found = packages_distributions() if owners is None else owners
    for name in NAMES:
        for owner in sorted(set(found.get(name, ()))):
            if owner != "sealbid":
                raise SettingsError(f"import name {name} is owned by distribution {owner} too, want sealbid alone")
