# SPDX-License-Identifier: Apache-2.0
"""What a TPM signs when it quotes: TPMS_ATTEST of type quote (TPM 2.0 library, part 2, 10.12), big-endian throughout.

    magic u32 = ff544347, type u16 = 8018, qualifiedSigner TPM2B, extraData TPM2B,
    clock u64, resetCount u32, restartCount u32, safe u8, firmwareVersion u64,
    selections u32 count x (hash u16, size u8, bitmap), pcrDigest TPM2B

The magic says that the bytes were made inside a TPM: a restricted key signs nothing that starts with it and came from
outside. Refused: other attestation types, a selection of more than one bank of PCRs, or of a bank other than SHA-256
and SHA-384. Verifies nothing.
"""

from dataclasses import dataclass
from typing import Final

from attestation.errors import MalformedEvidence
from attestation.tee.reader import Reader
from attestation.tee.tpm.algorithms import HASHES, unsupported

MAX_ATTEST_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 66
MAX_EXTRA_BYTES: Final = 66
MAX_DIGEST_BYTES: Final = 64
MAX_BANKS: Final = 16
PCR_COUNT: Final = 24
_MAGIC, _QUOTE = 0xFF544347, 0x8018
_BANKS: Final = frozenset({"sha256", "sha384"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TPMQuote:
    """A quote as read. `pcrs` are the indices selected, ascending, of the one bank `bank`."""

    qualified_signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware_version: int
    bank: str
    pcrs: tuple[int, ...]
    pcr_digest: bytes


def read_quote(data: bytes) -> TPMQuote:
    """The quote of exactly these bytes. Raises `MalformedEvidence`, UNSUPPORTED for another type or bank."""
    reader = Reader(data, "tpm quote")
    if len(data) > MAX_ATTEST_BYTES:
        raise reader.malformed("size", str(len(data)), f"at most {MAX_ATTEST_BYTES}")
    if (magic := reader.big(4, "magic")) != _MAGIC:
        raise reader.malformed("magic", f"{magic:08x}", f"{_MAGIC:08x}")
    if (kind := reader.big(2, "type")) != _QUOTE:
        raise unsupported("tpm attestation type", f"{kind:04x}", f"{_QUOTE:04x}, a quote")
    signer = sized(reader, MAX_NAME_BYTES, "qualified signer")
    extra = sized(reader, MAX_EXTRA_BYTES, "extra data")
    clock, resets, restarts = (reader.big(size, name) for size, name in ((8, "clock"), (4, "resets"), (4, "restarts")))
    safe = reader.big(1, "safe")
    if safe > 1:
        raise reader.malformed("safe", str(safe), "0 or 1")
    firmware = reader.big(8, "firmware version")
    bank, pcrs = _selection(reader)
    pcr_digest = sized(reader, MAX_DIGEST_BYTES, "pcr digest")
    reader.end()
    return TPMQuote(
        qualified_signer=signer,
        extra_data=extra,
        clock=clock,
        reset_count=resets,
        restart_count=restarts,
        safe=bool(safe),
        firmware_version=firmware,
        bank=bank,
        pcrs=pcrs,
        pcr_digest=pcr_digest,
    )


def sized(reader: Reader, most: int, field: str) -> bytes:
    """A TPM2B: u16 length and so many bytes, at most `most`. Raises `MalformedEvidence`."""
    size = reader.big(2, f"{field} size")
    if size > most:
        raise reader.malformed(f"{field} size", str(size), f"at most {most}")
    return reader.take(size, field)


def _selection(reader: Reader) -> tuple[str, tuple[int, ...]]:
    count = reader.big(4, "pcr selections")
    if count > MAX_BANKS:
        raise reader.malformed("pcr selections", str(count), f"at most {MAX_BANKS}")
    # TPMs list banks of which nothing is selected; they say nothing.
    chosen = [(bank, pcrs) for bank, pcrs in (_one_bank(reader) for _ in range(count)) if pcrs]
    if len(chosen) != 1:
        raise unsupported("tpm quote", f"of {len(chosen)} pcr banks", "of one")
    number, pcrs = chosen[0]
    bank = HASHES.get(number, "")
    if bank not in _BANKS:
        raise unsupported("tpm quote pcr bank", f"{number:04x}", "sha256 or sha384")
    return bank, pcrs


def _one_bank(reader: Reader) -> tuple[int, tuple[int, ...]]:
    number, size = reader.big(2, "pcr bank"), reader.big(1, "pcr bitmap size")
    if size > PCR_COUNT // 8:
        raise _too_many(reader, size)
    bitmap = int.from_bytes(reader.take(size, "pcr bitmap"), "little")
    return number, tuple(index for index in range(PCR_COUNT) if bitmap >> index & 1)


def _too_many(reader: Reader, size: int) -> MalformedEvidence:
    return reader.malformed("pcr bitmap size", str(size), f"at most {PCR_COUNT // 8}")
