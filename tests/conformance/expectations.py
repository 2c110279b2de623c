# SPDX-License-Identifier: Apache-2.0
"""`tests/vectors/expected.toml` and the files it names, as values; the format is described at its head."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

EXPECTED = Path(__file__).resolve().parents[1] / "vectors" / "expected.toml"

Column: TypeAlias = bool | str
"""`genuine` or `acceptable`: true, false, "undecided" or "n/a"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One judgement of one file or folder."""

    path: str
    kind: str
    name: str
    at: datetime
    policy: str
    beside: tuple[str, ...]
    nonce: bytes | None
    genuine: tuple[Column, ...]
    acceptable: tuple[Column, ...]
    reasons: tuple[str, ...]
    """Any of these must be found; empty where nothing stands against the evidence."""

    besides: tuple[str, ...]
    """All of these must be found as well."""

    derived: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One file of the vectors: its hash and what it is."""

    path: str
    sha256: str
    role: str
    derived: str
    cases: tuple[Case, ...]
    event_log: str | None = None
    """The event log that replays to what the file quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One folder judged as a whole: its binding style and whether its event log replays, and its cases."""

    path: str
    binding: str
    binding_matches: bool
    event_log: str | None
    derived: str
    cases: tuple[Case, ...]


def _case(path: str, kind: str, table: Mapping[str, Any]) -> Case:
    found = tuple(table.get("or", ()))
    return Case(
        path=path,
        kind=kind,
        name=table["name"],
        at=table["at"],
        policy=table["policy"],
        beside=tuple(table.get("with", ())),
        nonce=bytes.fromhex(table["nonce"]) if "nonce" in table else None,
        genuine=(table["genuine"], *table.get("genuine_or", ())),
        acceptable=(table["acceptable"], *table.get("acceptable_or", ())),
        reasons=(table["reason"], *found) if "reason" in table else (),
        besides=tuple(table.get("and", ())),
        derived=table["derived"],
    )


def _tables() -> Iterator[dict[str, Any]]:
    head = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))
    for part in head["parts"]:
        yield tomllib.loads((EXPECTED.parent / part).read_text(encoding="utf-8"))


def policies() -> Mapping[str, str]:
    """The policies a case may name, and what each says."""
    named: dict[str, str] = tomllib.loads(EXPECTED.read_text(encoding="utf-8"))["policies"]
    return named


def listed() -> tuple[Listed, ...]:
    """Every file of the vectors that is listed, in the order of the files; twice where it is listed twice."""
    found: list[Listed] = []
    for table in _tables():
        for one in table.get("file", ()):
            cases = tuple(_case(one["path"], one["kind"], case) for case in one["case"])
            derived = cases[0].derived if cases else ""
            found.append(
                Listed(
                    path=one["path"],
                    sha256=one["sha256"],
                    role=one["role"],
                    derived=derived,
                    cases=cases,
                    event_log=one.get("event_log"),
                )
            )
        for path, part in table.get("parts", {}).items():
            found.append(Listed(path=path, sha256=part["sha256"], role=part["role"], derived=part["derived"], cases=()))
    return tuple(found)


def bundles() -> tuple[Bundle, ...]:
    """Every folder that is judged as one capture."""
    return tuple(
        Bundle(
            path=one["path"],
            binding=one["binding"],
            binding_matches=one["binding_matches"],
            event_log=one.get("event_log"),
            derived=one["binding_derived"],
            cases=tuple(_case(one["path"], "capture", case) for case in one["case"]),
        )
        for table in _tables()
        for one in table.get("bundle", ())
    )


def cases() -> tuple[Case, ...]:
    """Every case of every file and folder."""
    of_files = (case for one in listed() for case in one.cases)
    return (*of_files, *(case for bundle in bundles() for case in bundle.cases))
