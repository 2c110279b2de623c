# SPDX-License-Identifier: Apache-2.0
"""The TPM 2.0 commands a worker needs, marshalled here (TPM 2.0 library, part 3), so that no TPM stack is trusted.

    command   tag u16 (8001, or 8002 with sessions), size u32, code u32, handles, [u32 size, sessions], parameters
    response  tag u16, size u32, code u32, [handle u32], [u32 parameter size], parameters, [sessions]
    session   handle u32, nonce TPM2B, attributes u8, hmac TPM2B

Authorisations are empty passwords: hierarchies of a machine that attests have none. Whatever a TPM answers is read in
bounds; what it states is believed by nobody here, as evidence is verified elsewhere.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from attestation.errors import MalformedEvidence
from attestation.tee.reader import Reader
from attestation.tee.tpm.attest import PCR_COUNT, sized
from enclave.attesters.device import DeviceFailed
from enclave.attesters.tpm_device import HEADER_BYTES, MAX_RESPONSE_BYTES, TPMDevice

ENDORSEMENT: Final = 0x4000000B
MAX_NV_BYTES: Final = 16 << 10
_NULL, _PASSWORD = 0x40000007, 0x40000009
_PLAIN, _WITH_SESSIONS = 0x8001, 0x8002
_SHA256: Final = 0x000B
_NV_CHUNK: Final = 512
_NOTHING_THERE: Final = 0x18B
"""TPM_RC_HANDLE of the first handle: no such object or index."""

_TRY_AGAIN: Final = frozenset({0x90A, 0x922})
"""TPM_RC_TESTING and TPM_RC_RETRY: the command was not begun and may be sent again as it is."""

_ATTEMPTS: Final = 10
_EMPTY: Final = b"\0\0"
_NO_ALGORITHM: Final = b"\0\x10"
_KEPT: Final = 1
"""continueSession: the session is ended by a flush alone, also after a command that failed."""


class TPMRefused(DeviceFailed):
    """A TPM answered with a response code other than success."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"tpm {command} is {code:#05x}, want success")
        self.code = code


class TPMCommands:
    """Commands to one open TPM. Every method may raise `DeviceFailed`; what it made in the TPM is flushed."""

    def __init__(self, device: TPMDevice) -> None:
        self._device = device

    def read_nv(self, index: int) -> bytes | None:
        """What lies in NV at `index`, read by its own empty password, or None if nothing does."""
        public = self._found("nv_readpublic", 0x169, index)
        if public is None:
            return None
        area = Reader(sized(public, MAX_RESPONSE_BYTES, "nv public"), "tpm nv public")
        area.take(10, "index, name algorithm and attributes")
        sized(area, 64, "auth policy")
        size = area.big(2, "data size")
        if size > MAX_NV_BYTES:
            raise area.malformed("data size", str(size), f"at most {MAX_NV_BYTES}")
        parts = []
        for offset in range(0, size, _NV_CHUNK):
            wanted = _u16(min(_NV_CHUNK, size - offset)) + _u16(offset)
            answer = self._run("nv_read", 0x14E, (index, index), wanted, (_password(),))
            parts.append(sized(answer, _NV_CHUNK, "nv data"))
        return b"".join(parts)

    def read_public(self, handle: int) -> bytes | None:
        """The TPMT_PUBLIC of a key kept at `handle`, or None if there is none."""
        answer = self._found("readpublic", 0x173, handle)
        return None if answer is None else sized(answer, MAX_RESPONSE_BYTES, "public")

    @contextmanager
    def primary(self, template: bytes) -> Iterator[tuple[int, bytes]]:
        """The endorsement hierarchy's primary key of this template, as handle and TPMT_PUBLIC, until the block ends."""
        nothing_sensitive = _tpm2b(2 * _EMPTY)
        parameters = nothing_sensitive + _tpm2b(template) + _EMPTY + _u32(0)
        handle, answer = self._make("createprimary", 0x131, (ENDORSEMENT,), parameters, (_password(),))
        with self._flushed(handle):
            yield handle, sized(answer, MAX_RESPONSE_BYTES, "public")

    def read_pcrs(self, pcrs: Sequence[int]) -> dict[int, bytes]:
        """The SHA-256 bank's registers. They may change between two commands; a quote's digest tells."""
        values: dict[int, bytes] = {}
        while left := [index for index in pcrs if index not in values]:
            answer = self._run("pcr_read", 0x17E, (), _selection(left))
            answer.big(4, "update counter")
            given = _selected(answer)
            digests = answer.big(4, "digests")
            if not given or len(given) != digests or not set(given) <= set(left):
                raise answer.malformed("registers", f"{digests} digests of {given}", f"one each of some of {left}")
            values |= {index: sized(answer, 64, "register") for index in given}
        return values

    def quote(self, key: int, extra: bytes, pcrs: Sequence[int]) -> tuple[bytes, bytes]:
        """TPMS_ATTEST and TPMT_SIGNATURE over the SHA-256 bank's registers, by a key that has a scheme of its own."""
        parameters = _tpm2b(extra) + _NO_ALGORITHM + _selection(pcrs)
        answer = self._run("quote", 0x158, (key,), parameters, (_password(),))
        return sized(answer, MAX_RESPONSE_BYTES, "attest"), answer.take(answer.left, "signature")

    def activate_credential(self, key: int, ek: int, blob: bytes, encrypted_secret: bytes) -> bytes:
        """The secret sealed to `ek` for `key`, if both are this TPM's; the EK asks for the endorsement hierarchy."""
        with self._policy() as session:
            self._run("policysecret", 0x151, (ENDORSEMENT, session), 3 * _EMPTY + _u32(0), (_password(),))
            parameters = _tpm2b(blob) + _tpm2b(encrypted_secret)
            authorised = (_password(), _session(session))
            answer = self._run("activatecredential", 0x147, (key, ek), parameters, authorised)
            return sized(answer, 64, "secret")

    @contextmanager
    def _policy(self) -> Iterator[int]:
        """An unbound, unsalted policy session: policies here hold no secret that an HMAC would have to protect."""
        parameters = _tpm2b(bytes(16)) + _EMPTY + b"\1" + _NO_ALGORITHM + _u16(_SHA256)
        session, _ = self._make("startauthsession", 0x176, (_NULL, _NULL), parameters)
        with self._flushed(session):
            yield session

    @contextmanager
    def _flushed(self, handle: int) -> Iterator[None]:
        try:
            yield
        finally:
            self._run("flushcontext", 0x165, (), _u32(handle))

    def _found(self, name: str, code: int, handle: int) -> Reader | None:
        try:
            return self._run(name, code, (handle,))
        except TPMRefused as error:
            if error.code == _NOTHING_THERE:
                return None
            raise

    def _run(
        self, name: str, code: int, handles: Sequence[int], parameters: bytes = b"", sessions: Sequence[bytes] = ()
    ) -> Reader:
        """The parameters of the response."""
        return _parameters(self._ask(name, code, handles, parameters, sessions), bool(sessions))

    def _make(
        self, name: str, code: int, handles: Sequence[int], parameters: bytes, sessions: Sequence[bytes] = ()
    ) -> tuple[int, Reader]:
        """The handle of what the command made, and the parameters of the response."""
        answer = self._ask(name, code, handles, parameters, sessions)
        return answer.big(4, "handle"), _parameters(answer, bool(sessions))

    def _ask(
        self, name: str, code: int, handles: Sequence[int], parameters: bytes, sessions: Sequence[bytes]
    ) -> Reader:
        area = _u32(sum(map(len, sessions))) + b"".join(sessions) if sessions else b""
        body = b"".join(_u32(handle) for handle in handles) + area + parameters
        tag = _u16(_WITH_SESSIONS if sessions else _PLAIN)
        request = tag + _u32(HEADER_BYTES + len(body)) + _u32(code) + body
        for _ in range(_ATTEMPTS):
            reader, result = _response(self._device.command(request), name)
            if not result:
                return reader
            if result not in _TRY_AGAIN:
                raise TPMRefused(name, result)
        raise DeviceFailed(f"tpm {name} is put off {_ATTEMPTS} times, want an answer")


@contextmanager
def answering() -> Iterator[None]:
    """Turns an answer that does not parse into `DeviceFailed`: it is the device's fault, nobody's evidence."""
    try:
        yield
    except MalformedEvidence as error:
        raise DeviceFailed(error.message) from None


def _response(answer: bytes, name: str) -> tuple[Reader, int]:
    reader = Reader(answer, f"tpm {name} response")
    reader.take(2, "tag")
    size, result = reader.big(4, "size"), reader.big(4, "code")
    if size != len(answer):
        raise reader.malformed("size", str(size), str(len(answer)))
    return reader, result


def _parameters(reader: Reader, sessions: bool) -> Reader:
    size = reader.big(4, "parameter size") if sessions else reader.left
    return Reader(reader.take(size, "parameters"), "tpm response")


def _password() -> bytes:
    return _u32(_PASSWORD) + _EMPTY + b"\0" + _EMPTY


def _session(handle: int) -> bytes:
    return _u32(handle) + _EMPTY + bytes((_KEPT,)) + _EMPTY


def _selection(pcrs: Sequence[int]) -> bytes:
    bitmap = sum(1 << index for index in pcrs).to_bytes(PCR_COUNT // 8, "little")
    return _u32(1) + _u16(_SHA256) + bytes((len(bitmap),)) + bitmap


def _selected(reader: Reader) -> list[int]:
    count = reader.big(4, "selections")
    if count != 1:
        raise reader.malformed("selections", str(count), "1")
    reader.take(2, "bank")
    bitmap = int.from_bytes(reader.take(reader.big(1, "bitmap size"), "bitmap"), "little")
    return [index for index in range(PCR_COUNT) if bitmap >> index & 1]


def _tpm2b(data: bytes) -> bytes:
    return _u16(len(data)) + data


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "big")
