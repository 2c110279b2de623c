# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit export`, `verify` and `fsck`: a whole log into one file, and out of it again trusting nobody."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from attestation.errors import SettingsError
from sealbid.commands.output import json_option, print_json
from sealbid.commands.ownership import check_ownership

if TYPE_CHECKING:
    from attestation.audit.bundle.reader import Progress
    from attestation.audit.bundle.verified import VerifiedBundle
    from attestation.audit.questions.reply import About, Reply
    from attestation.trust import TrustRoot

FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)

bundle_option = click.option("--bundle", required=True, type=FILE, help="The audit bundle to ask.")
trust_option = click.option("--trust", required=True, type=FILE, help="Log keys and witness policy to judge by.")


@click.command(
    short_help="Take a whole log away as one file.",
    epilog="""\b
Examples:
  sealbid audit export --registry-dir registry/ --output audit.zip
  sealbid audit export --database postgresql://reader@db/logs --trust trust.toml --output audit.zip
""",
)
@click.option("--registry-dir", type=_FOLDER, help="The registry's state_dir: log, archive and trust file.")
@click.option("--database", metavar="URL", help="PostgreSQL database of the log, instead of the one in --registry-dir.")
@click.option("--trust", type=FILE, help="The trust file of the log, instead of the one in --registry-dir.")
@click.option("--output", required=True, type=FILE, help="The bundle to write; it must not be there yet.")
@click.option("--checkpoint", multiple=True, type=FILE, help="An earlier checkpoint to take along; may be repeated.")
@click.option("--receipt", multiple=True, type=FILE, help="A receipt to take along; may be repeated.")
@click.option("--without-evidence", is_flag=True, help="Leave archived evidence out: it holds identities of machines.")
@json_option
def export(
    registry_dir: Path | None,
    database: str | None,
    trust: Path | None,
    output: Path,
    checkpoint: tuple[Path, ...],
    receipt: tuple[Path, ...],
    without_evidence: bool,
    as_json: bool,
) -> None:
    """Write log, evidence and receipts as one bundle, the same bytes each time; the databases are only read.

    Evidence holds raw identities of machines: a bundle that has it is for auditors.
    """
    from attestation.audit.bundle.export import export_bundle
    from attestation.audit.bundle.stored import LOG_DATABASE, STORE_DATABASE, TRUST_FILE, StoredArchive, StoredLog
    from attestation.receipt_file import MAX_FILE_BYTES
    from attestation.tlog.note import MAX_NOTE_BYTES

    check_ownership()
    if registry_dir is None and (trust is None or database is None):
        raise SettingsError("--registry-dir is missing, want it, or both --database and --trust")
    root = read_root(trust or _in(registry_dir, TRUST_FILE))
    stored = (
        StoredLog.postgres(database, root.origin)
        if database
        else StoredLog.sqlite(_in(registry_dir, LOG_DATABASE), root.origin)
    )
    archive = None if without_evidence or registry_dir is None else StoredArchive(_in(registry_dir, STORE_DATABASE))
    with closing(stored), closing(archive) if archive else nullcontext(), _made(output) as file:
        done = export_bundle(
            file,
            trust=root,
            note=stored.note,
            log=stored,
            archive=archive,
            checkpoints=[_read(path, MAX_NOTE_BYTES) for path in checkpoint],
            receipts={path.stem: _read(path, MAX_FILE_BYTES) for path in receipt},
        )
    found = {
        "file": str(output),
        "origin": done.head.origin,
        "size": done.head.size,
        "root": done.head.root.hex(),
        "evidence": done.evidence,
        "missing": [digest.hex() for digest in done.missing],
    }
    if as_json:
        print_json(found)
        return
    click.echo(f"{output}: {done.head.size} entries of {done.head.origin}, {done.evidence} files of evidence")
    if done.missing:
        click.echo(f"  {len(done.missing)} files of evidence are not in it")
    click.echo(f"  check it: sealbid audit verify {output} --trust YOUR-TRUST.toml")


@click.command(
    short_help="Verify a whole audit bundle.",
    epilog="""\b
Example:
  sealbid audit verify audit.zip --trust trust.toml
""",
)
@click.argument("file", type=FILE)
@trust_option
@json_option
def verify(file: Path, trust: Path, as_json: bool) -> None:
    """Hash every entry of the bundle FILE again, offline: tiles, root, signature, witnesses, entries and evidence.

    Exits 20 if evidence that entries name is not in it. Trusts the keys of --trust and nothing in the bundle.
    """
    _fsck(file, trust, "verify", as_json)


@click.command(
    short_help="Is every stored byte what was signed?",
    epilog="""\b
Example:
  sealbid audit fsck --bundle audit.zip --trust trust.toml
""",
)
@bundle_option
@trust_option
@json_option
def fsck(bundle: Path, trust: Path, as_json: bool) -> None:
    """Check every byte of a bundle, and name the first that is not what was signed by where it is."""
    _fsck(bundle, trust, "fsck", as_json)


def _fsck(path: Path, trust: Path, question: str, as_json: bool) -> None:
    from dataclasses import replace

    from attestation.audit.questions.fsck import fsck as ask
    from attestation.audit.questions.reply import About

    check_ownership()
    root = read_root(trust)
    with opened(path) as stream, progress_bar() as progress:
        reply, bundle = ask(stream, root, progress)
    head = bundle.head if bundle else None
    show(replace(reply, question=question), About(trust=root, head=head, asked_at=datetime.now(UTC)), as_json)


def answer(
    bundle: Path, trust: Path, as_json: bool, ask: "Callable[[VerifiedBundle], Reply]", *, quorum: bool = True
) -> None:
    """Opens a bundle, verifies all of it, asks, shows the answer and ends with its exit status."""
    from attestation.audit.bundle.verified import open_bundle
    from attestation.audit.questions.reply import About

    check_ownership()
    root = read_root(trust)
    with opened(bundle) as stream:
        with progress_bar() as progress:
            found = open_bundle(stream, root, quorum=quorum, progress=progress)
        reply = ask(found)
    show(reply, About.of(found, datetime.now(UTC)), as_json)


def show(reply: "Reply", about: "About", as_json: bool) -> None:
    """Prints an answer and ends with its exit status."""
    if as_json:
        print_json(reply.to_json(about))
    else:
        click.echo("\n".join(reply.lines(about)))
    sys.exit(reply.exit)


def read_root(path: Path) -> "TrustRoot":
    """The auditor's own trust root. Raises `SettingsError`."""
    from attestation.files import read_file
    from attestation.trust import MAX_TRUST_BYTES, read_trust

    return read_trust(read_file(path, "trust file", MAX_TRUST_BYTES))


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A bundle's file, open for reading. Raises `SettingsError`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SettingsError(f"{path.name} cannot be read: {os.strerror(error.errno or 0).lower()}") from None
    with file:
        yield file


@contextmanager
def progress_bar() -> "Iterator[Progress]":
    """A bar on stderr where somebody watches; verifying a million entries takes its time."""
    from attestation.audit.bundle.reader import no_progress

    if not sys.stderr.isatty():
        yield no_progress
        return
    with click.progressbar(length=1000, label="verifying", file=sys.stderr) as bar:
        yield lambda done, total: bar.update(max(0, 1000 * done // max(total, 1) - bar.pos))


@contextmanager
def _made(path: Path) -> Iterator[IO[bytes]]:
    """A new file, readable by its owner only, and removed again if what is written to it fails."""
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise SettingsError(f"--output {path.name} cannot be made: {os.strerror(error.errno or 0).lower()}") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _read(path: Path, maximum: int) -> bytes:
    from attestation.files import read_file

    return read_file(path, path.name, maximum)


def _in(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise SettingsError(f"--registry-dir is missing, want the folder of {name}")
    return folder / name
