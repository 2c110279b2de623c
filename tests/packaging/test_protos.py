# SPDX-License-Identifier: Apache-2.0
"""The .proto files keep the house style, and the code generated from them is not stale."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

from tests.support.tree import ROOT, tracked

PROTOS = tracked("proto/**/*.proto")
VERSIONED = [path for path in PROTOS if path.is_relative_to("proto/sealbid")]

# Field numbers of descriptor.proto that make up the paths of source locations.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, NESTED, NESTED_ENUM, ONEOF, METHOD, VALUE = 2, 3, 4, 8, 2, 2


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    """Every .proto of the tree with its comments, by name."""
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("protos") / "set.bin"
    names = [path.relative_to("proto").as_posix() for path in PROTOS]
    well_known = files("grpc_tools") / "_proto"
    flags = [f"-I{ROOT / 'proto'}", f"-I{well_known}", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *flags, *names]) == 0
    return {file.name: file for file in FileDescriptorSet.FromString(out.read_bytes()).file}


def comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(at.path): at.leading_comments.strip() for at in file.source_code_info.location}


def messages(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], DescriptorProto]]:
    """Every message with the path of its source location, nested ones too, map entries left out."""
    waiting: list[tuple[tuple[int, ...], DescriptorProto]]
    waiting = [((MESSAGE, index), message) for index, message in enumerate(file.message_type)]
    while waiting:
        path, message = waiting.pop()
        if message.options.map_entry:
            continue
        yield path, message
        waiting += [((*path, NESTED, index), inner) for index, inner in enumerate(message.nested_type)]


def enums(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], EnumDescriptorProto]]:
    yield from (((ENUM, index), enum) for index, enum in enumerate(file.enum_type))
    for path, message in messages(file):
        yield from (((*path, NESTED_ENUM, index), enum) for index, enum in enumerate(message.enum_type))


def described(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Everything that must carry a comment: its name and the path of its source location."""
    for index, service in enumerate(file.service):
        yield service.name, (SERVICE, index)
        for number, method in enumerate(service.method):
            yield f"{service.name}.{method.name}", (SERVICE, index, METHOD, number)
    for path, message in messages(file):
        yield message.name, path
        yield from ((f"{message.name}.{f.name}", (*path, FIELD, i)) for i, f in enumerate(message.field))
        synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
        for i, oneof in enumerate(message.oneof_decl):
            if i not in synthetic:
                yield f"{message.name}.{oneof.name}", (*path, ONEOF, i)
    for path, enum in enums(file):
        yield enum.name, path
        yield from ((f"{enum.name}.{value.name}", (*path, VALUE, i)) for i, value in enumerate(enum.value))


def test_protos_are_found() -> None:
    """The walks below see files of both trees."""
    assert VERSIONED
    assert len(PROTOS) > len(VERSIONED)


@pytest.mark.parametrize("path", PROTOS, ids=str)
def test_everything_on_the_wire_is_described(compiled: dict[str, FileDescriptorProto], path: Path) -> None:
    """Every service, RPC, message, field, oneof, enum and value carries a comment."""
    file = compiled[path.relative_to("proto").as_posix()]
    found = comments(file)
    assert [name for name, at in described(file) if not found.get(at)] == []


@pytest.mark.parametrize("path", VERSIONED, ids=str)
def test_an_rpc_says_who_may_call_it(compiled: dict[str, FileDescriptorProto], path: Path) -> None:
    """The comment of every RPC names its callers."""
    file = compiled[path.relative_to("proto").as_posix()]
    found = comments(file)
    methods = [(name, found[at]) for name, at in described(file) if at[0] == SERVICE and len(at) == 4]
    assert [name for name, text in methods if "Callers:" not in text] == []


@pytest.mark.parametrize("path", VERSIONED, ids=str)
def test_a_field_says_whether_it_must_be_set(compiled: dict[str, FileDescriptorProto], path: Path) -> None:
    """The comment of every field of a message begins Required., Optional. or Output only."""
    file = compiled[path.relative_to("proto").as_posix()]
    found = comments(file)
    starts = ("Required.", "Optional.", "Output only.")
    fields = [
        (f"{message.name}.{field.name}", found[(*at, FIELD, index)])
        for at, message in messages(file)
        for index, field in enumerate(message.field)
        if not field.HasField("oneof_index") or field.proto3_optional
    ]
    assert [name for name, text in fields if not text.startswith(starts)] == []


@pytest.mark.parametrize("path", VERSIONED, ids=str)
def test_names_follow_the_package_and_version(compiled: dict[str, FileDescriptorProto], path: Path) -> None:
    """The folder is the package, the package ends in its version, services end in Service, RPCs own their messages."""
    name = path.relative_to("proto").as_posix()
    file = compiled[name]
    assert file.package == ".".join(path.relative_to("proto").parent.parts)
    assert file.package.endswith(".v1")
    assert [service.name for service in file.service if not service.name.endswith("Service")] == []


@pytest.mark.parametrize("path", PROTOS, ids=str)
def test_the_zero_of_an_enum_is_unspecified(compiled: dict[str, FileDescriptorProto], path: Path) -> None:
    """Nothing unset passes: value zero is called …_UNSPECIFIED, save where the Open Inference Protocol has its own."""
    file = compiled[path.relative_to("proto").as_posix()]
    if file.package == "inference":
        assert all(enum.value[0].number == 0 for _, enum in enums(file))
        return
    assert [enum.name for _, enum in enums(file) if not enum.value[0].name.endswith("_UNSPECIFIED")] == []
    assert all(enum.value[0].number == 0 for _, enum in enums(file))


def test_generated_code_is_not_stale() -> None:
    """The committed output is what proto/generate.py writes from the committed .proto files."""
    checked = subprocess.run(
        [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
