# SPDX-License-Identifier: Apache-2.0
"""A real TPM 2.0 made of software (swtpm), with an EK certificate from a CA of the test's own.

Tests that need one are skipped where `swtpm` is not installed, or fail if SEALBID_REQUIRE_SWTPM is 1. Everything lies
in one temporary folder under /tmp, because paths of sockets must be short; no network is used.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.binding import Profile
from attestation.facts.tpm import TPM
from enclave.attesters.tpm import TPMAttester, TPMQuoter, read_issuers
from enclave.attesters.tpm_commands import TPMCommands
from enclave.attesters.tpm_device import open_tpm

_SECONDS: Final = 30.0
_SETUP: Final = """\
create_certs_tool=/usr/bin/swtpm_localca
create_certs_tool_config={root}/ca.conf
create_certs_tool_options={root}/ca.options
active_pcr_banks=sha256
"""
_CA: Final = """\
statedir = {root}/ca
signingkey = {root}/ca/key.pem
issuercert = {root}/ca/issuer.pem
certserial = {root}/ca/serial
"""
_OPTIONS: Final = "--platform-manufacturer Sealbid --platform-version 1 --platform-model test\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareTPM:
    """A running swtpm: where it listens, and the certificates above its EK's, issuer first."""

    socket: Path
    issuers_pem: bytes

    @property
    def root_sha256(self) -> str:
        """The root of its EK's chain, as policies name it."""
        return x509.load_pem_x509_certificates(self.issuers_pem)[-1].fingerprint(SHA256()).hex()

    @property
    def issuers_der(self) -> list[bytes]:
        """The certificates above the EK's."""
        return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(self.issuers_pem)]

    def attester(self, profile: Profile = Profile.DEVELOPMENT) -> TPMAttester:
        """A worker's attester on this TPM."""
        quoter = TPMQuoter(open_device=lambda: open_tpm(self.socket), issuers=read_issuers(self.issuers_pem))
        return TPMAttester(profile=profile, tpm=quoter)

    def extend(self, index: int, data: bytes) -> None:
        """Extends a register, as the start of something would; returns when it is done."""
        digest = hashlib.sha256(data).digest()
        self._command(0x182, index.to_bytes(4, "big"), bytes.fromhex("00000001 000b") + digest)

    def forget_endorsement_key(self) -> None:
        """Takes the kept EK out of the TPM, which can make it anew: most TPMs never kept one."""
        self._command(0x120, bytes.fromhex("40000001 81010001"), bytes.fromhex("81010001"))

    def _command(self, code: int, handles: bytes, parameters: bytes) -> None:
        body = handles + bytes.fromhex("00000009 40000009 0000 00 0000") + parameters
        request = bytes.fromhex("8002") + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body
        with open_tpm(self.socket) as device:
            answer = device.command(request)
        assert answer[6:10] == bytes(4), answer.hex()

    def pcrs(self) -> dict[int, bytes]:
        """What the registers hold."""
        with open_tpm(self.socket) as device:
            return TPMCommands(device).read_pcrs(range(24))


def require_swtpm() -> None:
    """Skips the test without swtpm, or fails it if SEALBID_REQUIRE_SWTPM is 1."""
    missing = [name for name in ("swtpm", "swtpm_setup", "swtpm_localca") if shutil.which(name) is None]
    if not missing:
        return
    message = f"{', '.join(missing)} not installed; apt-get install swtpm swtpm-tools"
    if os.environ.get("SEALBID_REQUIRE_SWTPM") == "1":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def software_tpm() -> Iterator[SoftwareTPM]:
    """A new TPM with a new CA, until the block ends."""
    require_swtpm()
    root = Path(tempfile.mkdtemp(prefix="sealbid-tpm-", dir="/tmp"))
    try:
        _manufacture(root)
        with _running(root) as socket:
            yield SoftwareTPM(socket=socket, issuers_pem=_issuers(root))
    finally:
        shutil.rmtree(root, ignore_errors=True)


def tpm_policy(tpm: SoftwareTPM, **facts: str) -> bytes:
    """A development policy for workers on this TPM as it was started: its EK root, and PCR 14 for the worker."""
    return tpm_policy_text(x509.load_pem_x509_certificates(tpm.issuers_pem)[-1], tpm.pcrs()[14], **facts)


def tpm_policy_text(root: x509.Certificate, pcr14: bytes, **facts: str) -> bytes:
    """A development policy that names a root and what PCR 14 must hold; `facts` are TOML references without braces."""
    unset = 'unchecked = "a TPM made of software"'
    wanted: Mapping[str, str] = {
        "ek_root": f'any_of = ["{root.fingerprint(SHA256()).hex()}"]',
        "ek_key": 'exactly = "rsa-2048"',
        "ak_hierarchy": 'exactly = "endorsement"',
        "activation": 'exactly = "stated"',
        **facts,
    }
    registers = dict.fromkeys(TPM.registers, unset) | {"pcr14": f'any_of = ["sha256:{pcr14.hex()}"]'}
    text = (Path(__file__).parents[2] / "manifests" / "policies" / "development.toml").read_text()
    head, _, rest = text.partition("[workload.simulated]")
    lines = ["[workload.tpm]", 'measured_by = "pcr14"']
    lines += [f"registers.{name} = {{ {value} }}" for name, value in registers.items()]
    lines += ["", "[facts.tpm]", *(f"{name} = {{ {wanted.get(name, unset)} }}" for name in TPM.facts), "", ""]
    head = head.replace('kinds = { any_of = ["simulated"] }', 'kinds = { any_of = ["tpm"] }')
    return (head + "\n".join(lines) + rest[rest.index("[topology]") :]).encode()


def _manufacture(root: Path) -> None:
    for name in ("ca", "state"):
        (root / name).mkdir()
    for name, text in (("setup.conf", _SETUP), ("ca.conf", _CA), ("ca.options", _OPTIONS)):
        (root / name).write_text(text.format(root=root))
    command = ["swtpm_setup", "--tpm2", "--tpmstate", f"{root}/state", "--config", f"{root}/setup.conf"]
    made = subprocess.run([*command, "--create-ek-cert", "--lock-nvram"], capture_output=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr


@contextmanager
def _running(root: Path) -> Iterator[Path]:
    path = root / "tpm"
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={root}/state", "--server", f"type=unixio,path={path}"]
    flags = ["--flags", "not-need-init,startup-clear"]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([*command, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _SECONDS
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        assert path.exists(), (root / "log").read_text()
        yield path
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _issuers(root: Path) -> bytes:
    return b"".join((root / "ca" / name).read_bytes() for name in ("issuer.pem", "swtpm-localca-rootca-cert.pem"))
