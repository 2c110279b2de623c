# SPDX-License-Identifier: Apache-2.0
"""Which reason is shown by which test: `coverage.toml` as values, what it must cover, and docs/conformance.md from it.

    python -m tests.conformance.coverage      writes docs/conformance.md

What must be covered is read from the code and the specification: whatever reason a verifier's package, the appraisal,
the steps of verification or the registry name, and whatever reason a fact of a kind's vocabulary gives.
"""

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.facts.vocabularies import VOCABULARIES
from tests.conformance.expectations import Case as Recorded
from tests.conformance.expectations import bundles, cases
from tests.support.tree import ROOT

TABLE = Path(__file__).with_name("coverage.toml")
DOCUMENT = ROOT / "docs" / "conformance.md"
SHARED = ("attestation/tee/certificates.py", "attestation/tee/reader.py")
"""What the packages of all kinds with certificates read with."""

SOURCES: Mapping[str, tuple[str, ...]] = {
    "tdx": ("attestation/tee/dcap", "attestation/tee/eventlog", "attestation/tee/strict_json.py", *SHARED),
    "sgx": ("attestation/tee/dcap", "attestation/tee/strict_json.py", *SHARED),
    "snp": ("attestation/tee/snp", *SHARED),
    "nvidia-gpu": ("attestation/tee/nvidia", *SHARED),
    "nvidia-switch": ("attestation/tee/nvidia", *SHARED),
    "tpm": ("attestation/tee/tpm", "attestation/tee/eventlog", *SHARED),
    "azure-hcl": ("attestation/tee/azure_hcl", "attestation/tee/snp", "attestation/tee/dcap", *SHARED),
    "simulated": ("attestation/simulated",),
    "bundle": ("attestation/verify.py",),
    "policy": ("attestation/appraisal",),
    "registry": (
        *(f"attestation/registry/{name}.py" for name in ("registry", "judging", "activation", "enrolment", "gateways")),
        "attestation/rates.py",
    ),
}
FOLDERS = {
    "nvidia-rim": "nvidia-gpu",
    "nvidia-ocsp": "nvidia-gpu",
    "composite": "bundle",
    "ra-tls": "tdx",
}
"""Folders of recorded evidence whose column has another name."""

_REASON = re.compile(r"\bReason\.([A-Z_]+)")
_CODES = re.compile(r"\b[A-Z]{3,}(?:_[A-Z]+)*\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One reason of one kind: the test that shows it, and the one that its neighbour is not refused for it."""

    kind: str
    reason: str
    refused: str
    accepted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The table."""

    columns: Mapping[str, str]
    shown: Sequence[Shown]
    never: Mapping[tuple[str, str], str]
    gaps: Mapping[tuple[str, str], str]
    untried: Sequence[str]


def read() -> Coverage:
    """The table as it stands."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return Coverage(
        columns=table["columns"],
        shown=[Shown(**row) for row in table["case"]],
        never={(row["kind"], reason): row["why"] for row in table["never"] for reason in row["reasons"]},
        gaps={(row["kind"], row["reason"]): row["why"] for row in table.get("gap", ())},
        untried=list(table["untried"].values()),
    )


# ---- what must be covered --------------------------------------------------------------------------------------------


def required() -> set[tuple[str, str]]:
    """Every pair of a kind and a reason that the code or the specification says can be."""
    pairs = {(kind, reason) for kind, places in SOURCES.items() for place in places for reason in named_in(place)}
    for kind, vocabulary in VOCABULARIES.items():
        facts = vocabulary.facts.values()
        pairs |= {(kind.value, reason) for fact in facts for reason in (fact.reason, *fact.by_value.values())}
        if kind is not TEEKind.SIMULATED:
            states = ("DEBUG_REFUSED", "MEASUREMENT_REFUSED", "TCB_REFUSED")
            pairs |= {(kind.value, reason) for reason in states}
    return pairs | {("bundle", reason) for reason in reasons_of_section("### 3.4", step=True)}


def of_the_specification() -> set[str]:
    """The reasons of the table in 3.14 of docs/spec.md."""
    return reasons_of_section("### 3.14")


def named_in(place: str) -> set[str]:
    """The reasons that a module, or every module of a package, names."""
    path = ROOT / place
    files = sorted(path.glob("*.py")) if path.is_dir() else [path]
    return {name for file in files for name in _REASON.findall(file.read_text(encoding="utf-8"))}


def reasons_of_section(heading: str, *, step: bool = False) -> set[str]:
    """The reasons in the tables of a section; `step`: of rows that begin with one letter."""
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    section = text.split(f"\n{heading} ", 1)[1].split("\n### ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if re.match(r"\| [a-k] \|", row)] if step else rows
    return {code for row in rows for code in _CODES.findall(row) if code in Reason.__members__}


# ---- recorded evidence -----------------------------------------------------------------------------------------------


def column_of(case: Recorded) -> str:
    """The column of the matrix that a recorded case belongs to."""
    folder = case.path.partition("/")[0]
    return FOLDERS.get(folder, folder)


def recorded() -> dict[tuple[str, str], list[str]]:
    """The recorded cases that must be refused for a reason, by kind and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for case in cases():
        for reason in dict.fromkeys((*case.reasons[:1], *case.besides)):
            found.setdefault((column_of(case), reason), []).append(f"{case.path}#{case.name}")
    return found


def verdict(case: Recorded) -> str:
    """The verdict of a case, in one word."""
    if case.genuine[0] is True:
        return {True: "accepted", False: "genuine, refused", "undecided": "genuine, undecided"}.get(
            case.acceptable[0], "genuine, not appraised"
        )
    return "undecided" if case.genuine[0] == "undecided" else "not genuine"


VERDICTS = ("accepted", "genuine, refused", "genuine, undecided", "genuine, not appraised", "undecided", "not genuine")


# ---- the document ----------------------------------------------------------------------------------------------------


def document(table: Coverage) -> str:
    """docs/conformance.md."""
    return "\n".join((HEAD, *_matrix(table), *_rows(table), *_reasons(table), *_vectors(), *_untried(table))) + "\n"


HEAD = """\
# Conformance

Which reason is given for what, and what shows it. Written by `python -m tests.conformance.coverage` from
[coverage.toml](../tests/conformance/coverage.toml) and the expectations in `tests/vectors/expected`. A test fails
when this page, the table, the tests it names and the reasons the code can give differ from one another.

A reason of a kind is covered when one test shows that it is given where one thing is wrong, and another that the
nearest right thing is not refused for it. What is *genuine* is the verifiers' part (spec 3.14); what is
*acceptable* is the policy's (spec 3.11), shown with evidence that verifies.

## Matrix

A dot is a covered reason, with how many recorded cases must show it as well (a recorded machine as a whole counts
with the bundles); `gap` says below why nothing does; a dash is what cannot be, or is not the kind's.
"""
RECORDED = """\
## Recorded evidence

Cases by the folder of the recording and the verdict derived for them before any verifier of this repository had
read them (`tests/vectors/expected.toml`). Recordings are not in the repository; `SEALBID_VECTORS` says where they are.
"""


def _matrix(table: Coverage) -> Iterator[str]:
    seen, counts = {(row.kind, row.reason) for row in table.shown}, recorded()
    names = list(table.columns)
    yield f"| reason | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for reason in _ordered({reason for _, reason in seen | set(table.gaps)}):
        cells = []
        for kind in names:
            pair, times = (kind, reason), len(counts.get((kind, reason), ()))
            dot = f"● {times}" if times else "●"
            cells.append(dot if pair in seen else "gap" if pair in table.gaps else "-")
        yield f"| {reason} | {' | '.join(cells)} |"
    yield ""


def _rows(table: Coverage) -> Iterator[str]:
    counts = recorded()
    for kind, what in table.columns.items():
        yield from (f"## {what[0].upper()}{what[1:]}", "", "| reason | refused | accepted beside it | recorded |")
        yield "|---|---|---|---|"
        for row in sorted((row for row in table.shown if row.kind == kind), key=lambda row: row.reason):
            found = counts.get((kind, row.reason), [])
            example = f"{len(found)}, as `{found[0]}`" if found else ""
            yield f"| {row.reason} | {_named(row.refused)} | {_named(row.accepted)} | {example} |"
        yield ""


def _reasons(table: Coverage) -> Iterator[str]:
    yield from ("## Gaps", "")
    if table.gaps:
        yield from ("| kind | reason | why |", "|---|---|---|")
        yield from (f"| {kind} | {reason} | {why} |" for (kind, reason), why in table.gaps.items())
    else:
        yield "Every reason that the code names has both tests. What they are not tried on stands under *Never tried*."
    yield from ("", "## What cannot be", "", "| kind | reason | why |", "|---|---|---|")
    yield from (f"| {kind} | {reason} | {why} |" for (kind, reason), why in table.never.items())
    yield ""


def _vectors() -> Iterator[str]:
    yield RECORDED
    yield f"| folder | judged files and folders | {' | '.join(VERDICTS)} |"
    yield "|---" * (len(VERDICTS) + 2) + "|"
    by_folder: dict[str, list[Recorded]] = {}
    for case in cases():
        by_folder.setdefault(case.path.partition("/")[0], []).append(case)
    for folder, found in sorted(by_folder.items()):
        counts = Counter(verdict(case) for case in found)
        files = len({case.path for case in found})
        yield f"| {folder} | {files} | {' | '.join(str(counts[name]) for name in VERDICTS)} |"
    everything = Counter(verdict(case) for case in cases())
    paths = len({case.path for case in cases()})
    yield f"| **all** | {paths} | {' | '.join(str(everything[name]) for name in VERDICTS)} |"
    styles = Counter(bundle.binding for bundle in bundles())
    beside = recorded().keys() - {(row.kind, row.reason) for row in read().shown}
    named = {f"{kind} {reason}": len(recorded()[kind, reason]) for kind, reason in beside}
    yield from (
        "",
        "Recorded cases that name a reason which this page has under another kind, or which auditing alone gives:",
    )
    yield f"{_listed(named)}."
    yield from ("", "Binding styles of the captures that are judged as a whole: " + _listed(styles) + ".", "")


def _untried(table: Coverage) -> Iterator[str]:
    yield from ("## Never tried", "")
    yield from (f"* {one}" for one in table.untried)


def _named(node: str) -> str:
    path, _, test = node.partition("::")
    name, bracket, label = test.partition("[")
    shown = f" ({label.removesuffix(']').strip('-')})" if bracket else ""
    return f"[`{name}`](../{path}){_escaped(shown)}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))


def _ordered(reasons: Iterable[str]) -> list[str]:
    known = list(Reason.__members__)
    return sorted(reasons, key=known.index)


def main() -> int:
    """Writes the document."""
    DOCUMENT.write_text(document(read()), encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT.relative_to(ROOT)} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
