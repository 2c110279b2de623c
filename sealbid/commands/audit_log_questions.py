# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit QUESTION --bundle FILE`: what auditors ask of a whole log. Exits 0 yes, 10 no, 20 undecided."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from attestation.errors import SettingsError
from sealbid.commands.audit_evidence import Time
from sealbid.commands.audit_log import FILE, answer, bundle_option, opened, read_root, show, trust_option
from sealbid.commands.output import json_option
from sealbid.commands.ownership import check_ownership
from sealbid.commands.policy_file import read_policy_file

if TYPE_CHECKING:
    from attestation.audit.bundle.verified import VerifiedBundle
    from attestation.audit.questions.reply import Reply

_INDEX = click.IntRange(min=0)
_SECONDS = click.IntRange(min=1)
_max_age = click.option("--max-age", type=_SECONDS, help="How many seconds ago the witnesses' quorum may be.")


def question(short_help: str, example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command that asks a bundle, with the options that all of them have."""

    def made(function: Callable[..., None]) -> click.Command:
        shown = f"sealbid audit {example} --bundle audit.zip --trust trust.toml"
        wrapped: Callable[..., Any] = function
        for option in (json_option, trust_option, bundle_option):
            wrapped = option(wrapped)
        name = example.split()[0]
        return click.command(name, short_help=short_help, epilog=f"\b\nExample:\n  {shown}\n")(wrapped)

    return made


@question("Is the log append-only since my last visit?", "check --since last.note")
@click.option("--since", type=FILE, help="The checkpoint kept from the last visit.")
@_max_age
def check(bundle: Path, trust: Path, as_json: bool, since: Path | None, max_age: int | None) -> None:
    """Hold the log against the checkpoint of an earlier visit: it may only have grown."""
    from attestation.audit.questions.check import check as ask

    then, now = None if since is None else _note(since), datetime.now(UTC)
    answer(bundle, trust, as_json, lambda found: ask(found, since=then, max_age_seconds=max_age, now=now))


@question("Who vouches besides the operator?", "witnesses --max-age 600")
@_max_age
def witnesses(bundle: Path, trust: Path, as_json: bool, max_age: int | None) -> None:
    """Name the witnesses that cosigned the head, when, who did not, and whose line does not verify."""
    from attestation.audit.questions.witnesses import witnesses as ask

    now = datetime.now(UTC)
    answer(bundle, trust, as_json, lambda found: ask(found, max_age_seconds=max_age, now=now), quorum=False)


@question("How many entries between two dates?", "population --from 2026-10-01T00:00:00Z")
@click.option("--from", "since", type=Time(), help="The first moment counted.")
@click.option("--to", "until", type=Time(), help="The first moment no longer counted.")
def population(bundle: Path, trust: Path, as_json: bool, since: datetime | None, until: datetime | None) -> None:
    """Count the entries of each kind in a period; the tree proves that they are all."""
    from attestation.audit.questions.population import population as ask

    answer(bundle, trust, as_json, lambda found: ask(found, since=since, until=until))


@question("The whole history of one node.", "node ID --at 2026-11-22T12:00:00Z")
@click.argument("worker", metavar="ID")
@click.option("--at", type=Time(), help="Was it valid then; at the log's last entry, unless given.")
def node(bundle: Path, trust: Path, as_json: bool, worker: str, at: datetime | None) -> None:
    """Every verdict, revocation and move of the node ID, and whether it was valid at one moment."""
    from attestation.audit.questions.node import node as ask

    answer(bundle, trust, as_json, lambda found: ask(found, worker, at=at))


@question("Derive a verdict again from its evidence.", "reverify INDEX")
@click.argument("index", type=_INDEX)
@click.option("--policy", type=FILE, help="The policy's file, where the log does not hold its text.")
def reverify(bundle: Path, trust: Path, as_json: bool, index: int, policy: Path | None) -> None:
    """Verify and appraise the archived evidence of entry INDEX as of its time, and compare with what was logged."""
    from attestation.audit.questions.reverify import reverify as ask

    rules = None if policy is None else read_policy_file(policy)
    answer(bundle, trust, as_json, _at_index(index, lambda found: ask(found, index, policy=rules)))


@question("What bounds the time of an entry?", "when INDEX")
@click.argument("index", type=_INDEX)
def when(bundle: Path, trust: Path, as_json: bool, index: int) -> None:
    """Say between which times of witnesses entry INDEX was made."""
    from attestation.audit.questions.when import when as ask

    answer(bundle, trust, as_json, _at_index(index, lambda found: ask(found, index)))


@question("All revocations, and what they exposed.", "revocations --exposure")
@click.option("--exposure", is_flag=True, help="Be undecided unless there are receipts to hold against them.")
def revocations(bundle: Path, trust: Path, as_json: bool, exposure: bool) -> None:
    """List every revocation with the receipts dated after it."""
    from attestation.audit.questions.revocations import revocations as ask

    answer(bundle, trust, as_json, lambda found: ask(found, exposure=exposure))


@question("Which builds judged?", "verifier")
@click.option("--build", multiple=True, help="SHA-256 of a build that may have judged; may be repeated.")
def verifier(bundle: Path, trust: Path, as_json: bool, build: tuple[str, ...]) -> None:
    """List every verifier build with the verdicts it reached."""
    from attestation.audit.questions.verifier import verifier as ask

    answer(bundle, trust, as_json, lambda found: ask(found, known=build))


@question("Was logging ever down?", "uptime --max-gap 3600")
@click.option("--max-gap", type=_SECONDS, default=3600, help="The longest pause between entries, in seconds.")
def uptime(bundle: Path, trust: Path, as_json: bool, max_gap: int) -> None:
    """Name every pause between entries that is longer than asked."""
    from attestation.audit.questions.uptime import uptime as ask

    answer(bundle, trust, as_json, lambda found: ask(found, max_gap_seconds=max_gap))


@question("All refusals and why.", "refusals")
def refusals(bundle: Path, trust: Path, as_json: bool) -> None:
    """List every refusal with its reasons, and hold them against the archived findings."""
    from attestation.audit.questions.refusals import refusals as ask

    answer(bundle, trust, as_json, ask)


@question("Did a node serve without a valid verdict?", "gaps")
def gaps(bundle: Path, trust: Path, as_json: bool) -> None:
    """Hold every receipt of the bundle against the verdict that must have covered it; yes means that none lacks it."""
    from attestation.audit.questions.gaps import gaps as ask

    answer(bundle, trust, as_json, ask)


@question("Every key, from when to when.", "keys")
def keys(bundle: Path, trust: Path, as_json: bool) -> None:
    """List every key the log names, and whether those that are over were succeeded."""
    from attestation.audit.questions.keys import keys as ask

    answer(bundle, trust, as_json, ask)


@question("What administrators changed.", "changes")
def changes(bundle: Path, trust: Path, as_json: bool) -> None:
    """List every change, and whether a second person approved it."""
    from attestation.audit.questions.changes import changes as ask

    answer(bundle, trust, as_json, ask)


@question("Which policy was in force when?", "policies")
def policies(bundle: Path, trust: Path, as_json: bool) -> None:
    """List every policy published, what changed from the one before, and the verdicts under it."""
    from attestation.audit.questions.policies import policies as ask

    answer(bundle, trust, as_json, ask)


@question("Does any entry hold personal data?", "privacy")
def privacy(bundle: Path, trust: Path, as_json: bool) -> None:
    """Look for addresses, numbers and identities in every text of every entry; yes means that none was found."""
    from attestation.audit.questions.privacy import privacy as ask

    answer(bundle, trust, as_json, ask)


@question("Who read what is not public?", "access")
def access(bundle: Path, trust: Path, as_json: bool) -> None:
    """List every reading of archived evidence, and whether it states a purpose."""
    from attestation.audit.questions.access import access as ask

    answer(bundle, trust, as_json, ask)


@question("Does each gateway hold a verdict?", "gateway")
def gateway(bundle: Path, trust: Path, as_json: bool) -> None:
    """Say of every enrolled gateway whether it was attested or is trusted by its key alone."""
    from attestation.audit.questions.gateway import gateway as ask

    answer(bundle, trust, as_json, ask)


@question("A framework's controls, answered.", "report --framework soc2")
@click.option(
    "--framework",
    required=True,
    type=click.Choice(["soc2", "iso27001", "hipaa", "gdpr", "aiact", "pci"]),
    help="Whose controls are asked.",
)
def report(bundle: Path, trust: Path, as_json: bool, framework: str) -> None:
    """Ask every question that a framework's controls on audit records come down to, and say which controls hold."""
    from attestation.audit.questions.report import Framework
    from attestation.audit.questions.report import report as ask

    now = datetime.now(UTC)
    answer(bundle, trust, as_json, lambda found: ask(found, Framework(framework), now=now), quorum=False)


@click.command(
    short_help="Do two auditors see the same log?",
    epilog="""\b
Example:
  sealbid audit compare mine.note theirs.note --trust trust.toml --bundle audit.zip
""",
)
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@trust_option
@click.option("--bundle", type=FILE, help="A bundle that covers both, for checkpoints of different sizes.")
@json_option
def compare(first: Path, second: Path, trust: Path, bundle: Path | None, as_json: bool) -> None:
    """Hold two checkpoints against each other: two histories signed with one key are a split view."""
    from attestation.audit.bundle.verified import open_bundle
    from attestation.audit.questions.compare import compare as ask
    from attestation.audit.questions.reply import About

    check_ownership()
    root, notes = read_root(trust), (_note(first), _note(second))
    if bundle is None:
        reply, head = ask(*notes, root, None), None
    else:
        with opened(bundle) as stream:
            found = open_bundle(stream, root)
            reply, head = ask(*notes, root, found), found.head
    show(reply, About(trust=root, head=head, asked_at=datetime.now(UTC)), as_json)


def _at_index(index: int, ask: "Callable[[VerifiedBundle], Reply]") -> "Callable[[VerifiedBundle], Reply]":
    def checked(found: "VerifiedBundle") -> "Reply":
        if index >= found.view.size:
            raise SettingsError(f"INDEX is {index}, want below the log's {found.view.size}")
        return ask(found)

    return checked


def _note(path: Path) -> bytes:
    from attestation.files import read_file
    from attestation.tlog.note import MAX_NOTE_BYTES

    return read_file(path, path.name, MAX_NOTE_BYTES)


QUESTIONS = (
    check,
    witnesses,
    population,
    node,
    reverify,
    policies,
    verifier,
    refusals,
    revocations,
    gaps,
    keys,
    when,
    access,
    changes,
    uptime,
    privacy,
    gateway,
    report,
    compare,
)
