# SPDX-License-Identifier: Apache-2.0
"""SEV-SNP attestation reports, versions 2, 3 and 5, byte for byte (publication 56860, ATTESTATION_REPORT).

    report = 1184 bytes, integers little-endian:
      0x000 version u32, guest_svn u32, policy u64, family_id[16], image_id[16], vmpl u32, signature_algorithm u32 = 1,
      0x038 current_tcb[8], platform_info u64, key_info u32, 0 u32, report_data[64], measurement[48], host_data[32],
      0x0e0 id_key_digest[48], author_key_digest[48], report_id[32], report_id_ma[32], reported_tcb[8],
      0x188 cpuid family u8, model u8, stepping u8 (version 2: zero), 0[21], chip_id[64], committed_tcb[8],
      0x1e8 current build u8, minor u8, major u8, 0 u8, committed build u8, minor u8, major u8, 0 u8, launch_tcb[8],
      0x1f8 launch_mitigations u64, current_mitigations u64 (version 5, else zero), 0[152],
      0x2a0 signature r[72], s[72], 0[368]; r and s little-endian numbers of 48 bytes

The signature covers the first 0x2a0 bytes. Every byte said to be zero here must be zero. Version 4 was never published
and version 6 has fields this reader does not know: both are refused as unsupported, and not as bad. Bits of
`platform_info` without a name are kept: real chips set some before AMD documents them, so they are for a policy.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.reader import Reader
from attestation.tee.snp.product import TCB_BYTES

REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
VERSIONS: Final = frozenset({2, 3, 5})
_ECDSA_P384_SHA384: Final = 1
_NUMBER_BYTES: Final = 48
_KEY_INFO_BITS: Final = 5
_MUST_BE_ONE: Final = 1 << 17
_POLICY_BITS: Final = {2: 25, 3: 25, 5: 26}
"""How many low bits of the guest policy each version defines."""


class GuestPolicy(IntFlag):
    """What the guest's owner allowed or asked for at launch; the low 16 bits are the least firmware ABI, 17 is one."""

    SMT = 1 << 16
    MIGRATION_AGENT = 1 << 18
    DEBUG = 1 << 19
    SINGLE_SOCKET = 1 << 20
    CXL = 1 << 21
    AES_256_XTS = 1 << 22
    RAPL_DISABLED = 1 << 23
    CIPHERTEXT_HIDING = 1 << 24
    PAGE_SWAP_DISABLED = 1 << 25


class PlatformInfo(IntFlag):
    """What the machine has switched on."""

    SMT = 1 << 0
    TSME = 1 << 1
    ECC = 1 << 2
    RAPL_DISABLED = 1 << 3
    CIPHERTEXT_HIDING = 1 << 4
    ALIAS_CHECK_COMPLETE = 1 << 5
    TIO = 1 << 7


class SigningKey(IntEnum):
    """Whose key signed the report: the chip's own, one AMD gave a cloud provider, or none."""

    VCEK = 0
    VLEK = 1
    NONE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class SNPReport:
    """A report as read; nothing of it is verified. TCB versions are 8 bytes, spelled as the product spells them.

    `policy` and `platform_info` are all bits as they stand, `firmware` and `committed_firmware` are
    (major, minor, build), `cpuid` is (family, model, stepping) or None in version 2, `r` and `s` the signature's
    numbers.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    author_key_enabled: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    firmware: tuple[int, int, int]
    committed_firmware: tuple[int, int, int]
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    signed: bytes
    r: int
    s: int


def read_report(data: bytes) -> SNPReport:
    """The report these bytes spell.

    Raises:
        MalformedEvidence: UNSUPPORTED for a version or signature algorithm unknown here, MALFORMED for a wrong size,
            a reserved value, or reserved bytes that are not zero.
    """
    reader = Reader(data, "snp report")
    version = reader.little(4, "version")
    if version not in VERSIONS:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"snp report version is {version}, want 2, 3 or 5")
    if len(data) != REPORT_BYTES:
        raise reader.malformed("size", f"{len(data)} bytes", f"{REPORT_BYTES}")
    return _Body(reader, version).read(data[:SIGNED_BYTES])


class _Body:
    """Reads the fields after the version, in their order."""

    def __init__(self, reader: Reader, version: int) -> None:
        self._reader = reader
        self._version = version

    def read(self, signed: bytes) -> SNPReport:
        take, little, version = self._reader.take, self._reader.little, self._version
        guest_svn = little(4, "guest_svn")
        policy = self._policy()
        family_id, image_id = take(16, "family_id"), take(16, "image_id")
        vmpl = little(4, "vmpl")
        self._algorithm()
        current_tcb = take(TCB_BYTES, "current_tcb")
        platform_info = little(8, "platform_info")
        author_key_enabled, signing_key = self._key_info()
        self._zero(4, "reserved at 0x4c")
        report_data, measurement, host_data = take(64, "report_data"), take(48, "measurement"), take(32, "host_data")
        id_key_digest, author_key_digest = take(48, "id_key_digest"), take(48, "author_key_digest")
        take(32, "report_id")  # names this run of the guest, which nothing here asks for
        report_id_ma = take(32, "report_id_ma")
        reported_tcb = take(TCB_BYTES, "reported_tcb")
        cpuid = self._cpuid()
        chip_id, committed_tcb = take(64, "chip_id"), take(TCB_BYTES, "committed_tcb")
        firmware, committed_firmware = self._firmware("current"), self._firmware("committed")
        launch_tcb = take(TCB_BYTES, "launch_tcb")
        launch_mitigations, current_mitigations = self._mitigations()
        self._zero(SIGNED_BYTES - self._reader.offset, "reserved before the signature")
        r, s = self._number("r"), self._number("s")
        self._zero(self._reader.left, "reserved after the signature")
        return SNPReport(
            version=version,
            guest_svn=guest_svn,
            policy=policy,
            family_id=family_id,
            image_id=image_id,
            vmpl=vmpl,
            current_tcb=current_tcb,
            platform_info=platform_info,
            author_key_enabled=author_key_enabled,
            signing_key=signing_key,
            report_data=report_data,
            measurement=measurement,
            host_data=host_data,
            id_key_digest=id_key_digest,
            author_key_digest=author_key_digest,
            report_id_ma=report_id_ma,
            reported_tcb=reported_tcb,
            cpuid=cpuid,
            chip_id=chip_id,
            committed_tcb=committed_tcb,
            firmware=firmware,
            committed_firmware=committed_firmware,
            launch_tcb=launch_tcb,
            launch_mitigations=launch_mitigations,
            current_mitigations=current_mitigations,
            signed=signed,
            r=r,
            s=s,
        )

    def _policy(self) -> int:
        policy = self._reader.little(8, "policy")
        if not policy & _MUST_BE_ONE or policy >> _POLICY_BITS[self._version]:
            want = f"bit 17 set and none above {_POLICY_BITS[self._version] - 1}"
            raise self._reader.malformed("policy", f"{policy:016x}", want)
        return policy

    def _algorithm(self) -> None:
        algorithm = self._reader.little(4, "signature_algorithm")
        if algorithm != _ECDSA_P384_SHA384:
            message = f"snp report signature_algorithm is {algorithm}, want 1 (ecdsa p-384 with sha-384)"
            raise MalformedEvidence(Reason.UNSUPPORTED, message)

    def _key_info(self) -> tuple[bool, SigningKey]:
        # Bit 1, MASK_CHIP_KEY, says that the firmware signed nothing; then no signature verifies.
        info = self._reader.little(4, "key_info")
        signer = info >> 2
        if info >> _KEY_INFO_BITS or signer not in set(SigningKey):
            raise self._reader.malformed(
                "key_info", f"{info:08x}", "a vcek, a vlek or no signing key, and no bits above"
            )
        return bool(info & 1), SigningKey(signer)

    def _cpuid(self) -> tuple[int, int, int] | None:
        if self._version == 2:
            self._zero(24, "reserved at 0x188")
            return None
        family, model, stepping = self._reader.take(3, "cpuid")
        self._zero(21, "reserved at 0x18b")
        return family, model, stepping

    def _firmware(self, which: str) -> tuple[int, int, int]:
        build, minor, major = self._reader.take(3, f"{which} firmware")
        self._zero(1, f"reserved after the {which} firmware")
        return major, minor, build

    def _mitigations(self) -> tuple[int | None, int | None]:
        if self._version < 5:
            return None, None
        return self._reader.little(8, "launch_mitigations"), self._reader.little(8, "current_mitigations")

    def _number(self, name: str) -> int:
        number = self._reader.little(_NUMBER_BYTES, name)
        self._zero(72 - _NUMBER_BYTES, f"padding of {name}")
        return number

    def _zero(self, count: int, field: str) -> None:
        if any(self._reader.take(count, field)):
            raise self._reader.malformed(field, "not zero", "zero")
