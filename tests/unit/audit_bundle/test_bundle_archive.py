# SPDX-License-Identifier: Apache-2.0
"""The archive of an audit bundle: one way to write it, every other way refused by its own fault and place."""

import io
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from attestation.audit.bundle import records
from attestation.audit.bundle.faults import DIRECTORY, END, BundleFault, MalformedBundle
from attestation.audit.bundle.layout import SUMS, limit_of
from attestation.audit.bundle.reader import BundleReader
from attestation.audit.bundle.records import Member
from attestation.audit.bundle.writer import BundleWriter
from attestation.errors import Reason

FILES = {
    "evidence/" + "0f" * 32: b"evidence one",
    "log/checkpoint": b"a note",
    "log/tile/0/000.p/3": bytes(96),
    "log/tile/entries/000.p/3": b"\x00\x01a" * 3,
    "manifest.json": b"{}",
    "policy.txt": b"none",
    "receipts/7.json": b"{}",
}


def bundle(files: dict[str, bytes] = FILES) -> bytes:
    out = io.BytesIO()
    writer = BundleWriter(out)
    for name, data in files.items():
        writer.add(name, data)
    writer.finish()
    return out.getvalue()


def refused(data: bytes) -> MalformedBundle:
    """The error of reading, which says malformed."""
    with pytest.raises(MalformedBundle) as caught:
        BundleReader(io.BytesIO(data))
    assert caught.value.reason is Reason.MALFORMED
    return caught.value


def foreign(edit: Callable[[zipfile.ZipFile], None]) -> bytes:
    """An archive that another program wrote."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        edit(archive)
    return out.getvalue()


def sums(files: dict[str, bytes]) -> bytes:
    """The list of sums that `files` would have."""
    return BundleReader(io.BytesIO(bundle(files))).read(SUMS)


def relisted(files: dict[str, bytes], listed: bytes) -> bytes:
    """A bundle whose list says `listed`; everything else agrees."""
    out = io.BytesIO()
    writer = BundleWriter(out)
    for name, data in files.items():
        writer.add(name, data)
    writer._sums = [listed]
    writer.finish()
    return out.getvalue()


def test_what_was_written_is_read() -> None:
    """Every file comes back by its name."""
    read = BundleReader(io.BytesIO(bundle()))
    assert {name: read.read(name) for name in read.names()} == FILES
    assert list(read.names("log/tile/")) == ["log/tile/0/000.p/3", "log/tile/entries/000.p/3"]


def test_the_same_files_give_the_same_bytes() -> None:
    """Nothing of the time or the machine is in a bundle."""
    assert bundle() == bundle()
    assert b"1980" not in bundle()
    assert zipfile.ZipFile(io.BytesIO(bundle())).infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_other_programs_read_it(tmp_path: Path) -> None:
    """Python's zipfile finds no fault, and `sha256sum -c` accepts what it unpacked."""
    with zipfile.ZipFile(io.BytesIO(bundle())) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(": OK")) == (0, len(FILES))


def test_a_flipped_byte_is_found_and_located() -> None:
    """Any byte of any file, header, directory record or end, flipped in any of two ways, is named by where it is."""
    data = bundle()
    members = {name: place for name, (place, _) in BundleReader(io.BytesIO(data))._members.items()}
    directory = max(member.next_offset for member in members.values())
    for place in range(len(data)):
        owner = next((name for name, one in members.items() if one.offset <= place < one.next_offset), None)
        for mask in (0x01, 0x80):
            found = refused(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])
            if owner is not None:
                assert found.where == owner, f"byte {place}"
            elif place >= len(data) - records.END.size:
                assert found.where in (END, DIRECTORY)
            else:
                assert directory <= place


def test_a_cut_or_longer_bundle_is_refused() -> None:
    """No prefix of a bundle is one, and nothing may stand before or after it."""
    data = bundle()
    for length in range(len(data)):
        refused(data[:length])
    assert refused(b"PK" + data).fault is BundleFault.END_WRONG
    assert refused(data + b"\0").fault is BundleFault.END_MISSING


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "log/../../x", "..\\x", "C:x", "log//../x"])
def test_a_name_that_escapes(name: str) -> None:
    """Zip slips are refused by name before anything is read."""
    assert refused(foreign(lambda archive: archive.writestr(name, b"x"))).fault is BundleFault.NAME_ESCAPES


def test_a_link_a_folder_and_a_name_of_no_bundle() -> None:
    """Links, folders and names a bundle does not have are each their own fault."""
    link = zipfile.ZipInfo("manifest.json")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert refused(foreign(lambda archive: archive.writestr(link, "/etc/passwd"))).fault is BundleFault.SYMLINK
    assert refused(foreign(lambda archive: archive.writestr("log/", b""))).fault is BundleFault.FOLDER
    assert refused(foreign(lambda archive: archive.writestr("notes.txt", b""))).fault is BundleFault.NAME_UNKNOWN
    assert refused(foreign(lambda archive: archive.writestr("log/tile/0/1", b""))).fault is BundleFault.NAME_UNKNOWN
    assert refused(foreign(lambda archive: archive.writestr("ä", b""))).fault is BundleFault.NAME_ENCODING


def test_a_bomb_is_refused_unread() -> None:
    """Compressed files are refused, whatever they would grow to; stored ones have a limit by their name."""

    def bomb(archive: zipfile.ZipFile) -> None:
        archive.writestr("manifest.json", bytes(1 << 20), zipfile.ZIP_DEFLATED)

    assert refused(foreign(bomb)).fault is BundleFault.COMPRESSED
    too_long = bytes(limit_of("manifest.json") + 1)
    assert refused(foreign(lambda archive: archive.writestr("manifest.json", too_long))).fault is BundleFault.FILE_SIZE
    with pytest.raises(MalformedBundle) as caught:
        BundleWriter(io.BytesIO()).add("manifest.json", too_long)
    assert caught.value.fault is BundleFault.FILE_SIZE


def test_an_encrypted_file() -> None:
    """The flag of encryption is a fault of its own."""
    data = bytearray(bundle())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refused(bytes(data)).fault is BundleFault.ENCRYPTED


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_and_out_of_order() -> None:
    """Which of two files of one name is meant is nobody's choice; another order is another bundle."""

    def twice(archive: zipfile.ZipFile) -> None:
        archive.writestr(_plain("policy.txt"), b"none")
        archive.writestr(_plain("policy.txt"), b"other")

    def backwards(archive: zipfile.ZipFile) -> None:
        archive.writestr(_plain("policy.txt"), b"none")
        archive.writestr(_plain("manifest.json"), b"{}")

    assert refused(foreign(twice)).fault is BundleFault.NAME_TWICE
    assert refused(foreign(backwards)).fault is BundleFault.NAME_ORDER
    writer = BundleWriter(io.BytesIO())
    writer.add("policy.txt", b"")
    with pytest.raises(MalformedBundle):
        writer.add("policy.txt", b"")


def _plain(name: str) -> zipfile.ZipInfo:
    """A file as a bundle has it."""
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, records.MODE << 16
    return info


def test_sums_that_are_wrong_short_long_or_none() -> None:
    """A wrong sum, a file not listed, one listed and gone, and a line that is no sum: each its own fault."""
    listed = sums(FILES)
    lines = listed.splitlines(keepends=True)
    wrong = refused(relisted(FILES, listed.replace(lines[1], b"0" * 64 + lines[1][64:])))
    assert (wrong.fault, wrong.where) == (BundleFault.SUM_WRONG, "log/checkpoint")
    unlisted = refused(relisted(FILES, b"".join(lines[:-1])))
    assert (unlisted.fault, unlisted.where) == (BundleFault.UNLISTED, "receipts/7.json")
    assert refused(relisted(FILES, b"".join(lines[1:]))).fault is BundleFault.UNLISTED
    missing = refused(relisted({k: v for k, v in FILES.items() if k != "log/tile/0/000.p/3"}, listed))
    assert (missing.fault, missing.where) == (BundleFault.MISSING, "log/tile/0/000.p/3")
    assert refused(relisted(FILES, listed + b"x\n")).fault is BundleFault.SUMS_FORM
    assert refused(relisted(FILES, listed[:-1])).fault is BundleFault.SUMS_FORM


@pytest.mark.parametrize("name", ["log/checkpoint", "manifest.json", "policy.txt"])
def test_what_every_bundle_has(name: str) -> None:
    """Checkpoint, manifest and policy are there."""
    found = refused(bundle({one: data for one, data in FILES.items() if one != name}))
    assert (found.fault, found.where) == (BundleFault.MISSING, name)
    assert refused(foreign(lambda archive: archive.writestr(_plain("policy.txt"), b""))).where == SUMS


def test_many_files_and_far_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The forms for large archives are written where they are needed, and read here and by zipfile."""
    monkeypatch.setattr(records, "MAX_32", 400)
    monkeypatch.setattr("attestation.audit.bundle.directory.MAX_32", 400)
    far = Member(name="policy.txt", offset=401, size=1, crc32=2)
    assert len(far.record) == records.RECORD.size + len("policy.txt") + records.EXTRA_64.size
    data = bundle()
    assert b"PK\x06\x06" in data
    read = BundleReader(io.BytesIO(data))
    assert {name: read.read(name) for name in read.names()} == FILES
    for place in range(data.index(b"PK\x01\x02"), len(data)):
        refused(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_more_files_than_the_short_end_counts() -> None:
    """An archive of more than 65,535 files is read here and by zipfile."""
    files = {f"evidence/{number:064x}": b"" for number in range(65_540)} | {
        name: data for name, data in FILES.items() if not name.startswith("evidence/")
    }
    data = bundle(files)
    assert sum(1 for _ in BundleReader(io.BytesIO(data)).names()) == len(files)
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == len(files) + 1


def test_a_file_that_changes_while_it_is_read() -> None:
    """What was summed is what is handed out, or nothing."""
    stream = io.BytesIO(bundle())
    read = BundleReader(stream)
    place = stream.getvalue().index(b"evidence one")
    stream.seek(place)
    stream.write(b"E")
    with pytest.raises(MalformedBundle) as caught:
        read.read("evidence/" + "0f" * 32)
    assert caught.value.fault is BundleFault.FILE_CHANGED
