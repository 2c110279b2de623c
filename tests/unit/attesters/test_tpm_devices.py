# SPDX-License-Identifier: Apache-2.0
"""TPMs that do not answer as documented: every answer is read in bounds and named as the device's fault."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestation.binding import KeyBinding, Profile
from attestation.errors import Reason
from attestation.tee.tpm.credential import Credential
from enclave.attesters.device import DeviceFailed
from enclave.attesters.tpm import TPMQuoter
from enclave.attesters.tpm_commands import TPMCommands, TPMRefused, answering
from enclave.attesters.tpm_device import TPMDevice, open_tpm

RETRY, TESTING, FAILURE, NOTHING = 0x922, 0x90A, 0x101, 0x18B


class ScriptedTPM:
    """Answers by a function of the command's code, and remembers the codes."""

    def __init__(self, answer: Callable[[int], bytes]) -> None:
        self.answer = answer
        self.codes: list[int] = []

    def command(self, request: bytes) -> bytes:
        assert int.from_bytes(request[2:6], "big") == len(request)
        self.codes.append(int.from_bytes(request[6:10], "big"))
        return self.answer(self.codes[-1])


def response(code: int = 0, body: bytes = b"", *, tag: int = 0x8001, size: int | None = None) -> bytes:
    """A response; its size may lie."""
    length = 10 + len(body) if size is None else size
    return tag.to_bytes(2, "big") + length.to_bytes(4, "big") + code.to_bytes(4, "big") + body


def a_quoter(device: TPMDevice) -> TPMQuoter:
    """A quoter on this device."""

    @contextmanager
    def opened() -> Iterator[TPMDevice]:
        yield device

    return TPMQuoter(open_device=opened)


def a_binding() -> KeyBinding:
    return KeyBinding(
        profile=Profile.PRODUCTION,
        purpose="worker",
        verifier_nonce=bytes(32),
        keyset_id=bytes(32),
        provider_id=bytes(32),
        audience="registry.test/evidence",
        devices=(),
        engines=(),
        config_sha256=bytes(32),
        not_after=1,
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x80",
        response()[:9],
        response(size=11),
        response(size=9),
        response(size=0xFFFFFFFF),
        response(body=b"\0\0\0\0" + b"\xff\xff\xff\xff"),
        response(body=bytes(4) + bytes(4) + bytes(4)),
        response(body=bytes(4) + bytes.fromhex("00000001 000b 03 ffffff 00000001 ffff")),
        response(body=bytes(4) + bytes.fromhex("00000001 000b 03 010000 00000002 0000 0000")),
        response(body=bytes(4) + bytes.fromhex("00000001 000b ff")),
    ],
)
def test_answers_that_are_none_are_the_devices_fault(answer: bytes) -> None:
    """Short, long, lying and inconsistent answers give one named error."""
    with pytest.raises(DeviceFailed) as caught, answering():
        TPMCommands(ScriptedTPM(lambda _: answer)).read_pcrs(range(24))
    assert caught.value.reason is Reason.PEER_UNAVAILABLE


@pytest.mark.parametrize("code", [RETRY, TESTING])
def test_a_busy_tpm_is_asked_again(code: int) -> None:
    """What was not begun is sent again, and not for ever."""
    good = response(body=bytes(4) + bytes.fromhex("00000001 000b 03 010000 00000001 0020") + bytes(32))
    answers = iter([response(code), response(code), good])
    assert TPMCommands(ScriptedTPM(lambda _: next(answers))).read_pcrs([0]) == {0: bytes(32)}
    busy = ScriptedTPM(lambda _: response(code))
    with pytest.raises(DeviceFailed):
        TPMCommands(busy).read_pcrs([0])
    assert len(busy.codes) == 10


def test_a_refusal_names_the_command_and_the_code() -> None:
    """The TPM's own code is what a person can look up."""
    with pytest.raises(TPMRefused, match="tpm pcr_read is 0x101, want success"):
        TPMCommands(ScriptedTPM(lambda _: response(FAILURE))).read_pcrs([0])


def test_a_tpm_without_a_certificate_is_named() -> None:
    """Nothing is quoted with a key nobody endorsed."""
    primary = response(body=bytes.fromhex("80000000") + (4).to_bytes(4, "big") + b"\0\2ak", tag=0x8002)

    def answer(code: int) -> bytes:
        return {0x131: primary, 0x169: response(NOTHING), 0x165: response()}[code]

    device = ScriptedTPM(answer)
    asked: tuple[Callable[[TPMQuoter], object], ...] = (
        lambda quoter: quoter.attestation_key(),
        lambda quoter: quoter.activate(Credential(blob=b"", encrypted_secret=b"")),
        lambda quoter: quoter.quote(a_binding(), now=datetime.now(UTC)),
    )
    for ask in asked:
        with pytest.raises(DeviceFailed, match="ek certificate is missing"):
            ask(a_quoter(device))
        assert device.codes[-1] == 0x165, "what was made is flushed"


def test_a_certificate_of_any_length_is_not_read() -> None:
    """The size an NV index claims is bounded."""
    area = bytes(4) + bytes(2) + bytes(4) + bytes(2) + (0xFFFF).to_bytes(2, "big")
    device = ScriptedTPM(lambda _: response(body=len(area).to_bytes(2, "big") + area + b"\0\0"))
    with pytest.raises(DeviceFailed), answering():
        TPMCommands(device).read_nv(0x01C00002)
    assert device.codes == [0x169]


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No path, a plain file without permission, a socket nobody listens at."""
    silent = tmp_path / "silent"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(silent))
    listener.close()
    for path in (tmp_path / "nothing", silent):
        with pytest.raises(DeviceFailed) as caught, open_tpm(path):
            pass
        assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("sent", [b"", b"\x80\x01", response(size=4097), response(size=9), response(size=100)])
def test_a_socket_that_lies_or_closes_is_named(tmp_path: Path, sent: bytes) -> None:
    """A response without header, too long, too short, or shorter than it says."""
    path = tmp_path / "tpm"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(sent)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(DeviceFailed), open_tpm(path) as device:
        device.command(response())
    thread.join()
    listener.close()


def test_a_character_device_is_one_write_and_one_read() -> None:
    """/dev/null takes a command and answers nothing, which is no response."""
    with pytest.raises(DeviceFailed), answering(), open_tpm(Path("/dev/null")) as device:
        TPMCommands(device).read_pcrs([0])
