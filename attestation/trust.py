# SPDX-License-Identifier: Apache-2.0
"""The trust root: what a party must hold before it can believe anything a registry says (docs/spec.md, 3.12).

    origin = "registry.example/evidence"      the log's name
    log_key = "registry.example/evidence+0123abcd+AV..."     C2SP verifier key of the checkpoints
    lease_key = "<64 hex digits>"             Ed25519 key of leases and heartbeats, distinct from the log key
    witness_policy = "none"                   or a whole C2SP tlog-policy file; none is shown as operator's word only
    witness_policy_file = "policy.txt"        or, instead of it, the name of one, beside this file
    profile = "production" | "development"    development is SIMULATED throughout

It comes from the party's own disk, never from the registry. All keys are required, others refused. A witness policy
that lists logs must list this one with this key; one that lists none says nothing about logs.
"""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestation.binding import Profile
from attestation.errors import SettingsError
from attestation.files import read_file
from attestation.tlog.note import NoteVerifier
from attestation.tlog.policy import MAX_POLICY_BYTES, WitnessPolicy, parse_witness_policy

MAX_TRUST_BYTES: Final = 512 << 10
_KEYS: Final = ("origin", "log_key", "lease_key", "witness_policy", "profile")
_POLICY_FILE: Final = "witness_policy_file"
_LEASE_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """One log and its keys, as one party has decided to trust them."""

    origin: str
    log_key: NoteVerifier
    lease_key: bytes
    witness_policy: WitnessPolicy
    profile: Profile

    def __post_init__(self) -> None:
        if self.log_key.name != self.origin:
            raise SettingsError(f"trust log_key is named {self.log_key.name}, want the origin {self.origin}")
        if self.log_key.public_key == self.lease_key:
            raise SettingsError("trust lease_key is the log key, want a key of its own")
        listed = self.witness_policy.logs
        if listed and self.log_key not in self.witness_policy.logs_of(self.origin):
            raise SettingsError(f"trust witness_policy lists {len(listed)} logs, want log_key among them")

    def to_toml(self) -> bytes:
        """The file `read_trust` reads back. Raises `SettingsError` for a policy that is no UTF-8: no TOML holds it."""
        if any("\ud800" <= char <= "\udfff" for char in self.witness_policy.text):
            raise SettingsError("trust witness_policy is not utf-8, want it in a file of its own")
        lines = {
            "origin": self.origin,
            "log_key": self.log_key.vkey,
            "lease_key": self.lease_key.hex(),
            "witness_policy": self.witness_policy.text,
            "profile": self.profile.value,
        }
        # JSON's strings are TOML's basic strings.
        return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items()).encode()


def load_trust(path: Path, name: str) -> TrustRoot:
    """The trust root of the file at `path`, which errors call `name`. Raises as `read_trust`."""
    return read_trust(read_file(path, name, MAX_TRUST_BYTES), folder=path.parent)


def read_trust(data: bytes, *, folder: Path | None = None) -> TrustRoot:
    """The trust root of a TOML file; `folder` is where a file it names is looked for.

    Raises:
        SettingsError: naming the key; also for a file named without a `folder`.
        MalformedEvidence: a bad vkey or witness policy.
    """
    items = _parse(data)
    if not _LEASE_KEY.fullmatch(items["lease_key"]):
        raise SettingsError("trust lease_key is not 64 lower-case hex digits")
    if items["profile"] not in set(Profile):
        raise SettingsError("trust profile is unknown, want production or development")
    return TrustRoot(
        origin=items["origin"],
        log_key=NoteVerifier.parse(items["log_key"]),
        lease_key=bytes.fromhex(items["lease_key"]),
        witness_policy=_witness_policy(items, folder),
        profile=Profile(items["profile"]),
    )


def _witness_policy(items: dict[str, str], folder: Path | None) -> WitnessPolicy:
    if _POLICY_FILE not in items:
        return parse_witness_policy(items["witness_policy"])
    if folder is None:
        raise SettingsError(f"trust {_POLICY_FILE} names a file, want the policy itself where there is no folder")
    return parse_witness_policy(read_file(folder / items[_POLICY_FILE], f"trust {_POLICY_FILE}", MAX_POLICY_BYTES))


def _parse(data: bytes) -> dict[str, str]:
    if len(data) > MAX_TRUST_BYTES:
        raise SettingsError(f"trust file has {len(data)} bytes, want at most {MAX_TRUST_BYTES}")
    try:
        items = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise SettingsError("trust file is not toml in utf-8") from None
    keys = tuple(_POLICY_FILE if key == "witness_policy" and _POLICY_FILE in items else key for key in _KEYS)
    for key in (*keys, *items):
        if key not in keys:
            raise SettingsError(f"trust key {key[:32]!r} is unknown, want {', '.join(keys)}")
        if not isinstance(items.get(key), str):
            raise SettingsError(f"trust {key} is missing or not a text")
    return items
