# SPDX-License-Identifier: Apache-2.0
"""What a machine shows: each kind ready, blocked with a remedy, or absent; and the attester chosen from it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attestation.claims import ComponentID, ComponentKind, TEEKind
from attestation.errors import SettingsError
from enclave.attesters.detect import AttesterChoice, Sign, SignState, choose_attester, detect, inspect
from enclave.attesters.interface import Attester
from enclave.attesters.simulated import SimulatedAttester
from tests.support.machines import Root, root_folder

ATTESTER = SimulatedAttester(components=(ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),))


def sign(root: Path, kind: TEEKind) -> Sign:
    (found,) = [item for item in inspect(root) if item.kind is kind]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return root_folder(tmp_path)


def test_an_empty_machine_shows_nothing(root: Root) -> None:
    """Every kind is absent, and says what was looked for."""
    signs = inspect(root.path)
    assert {item.state for item in signs} == {SignState.ABSENT}
    assert all(item.seen and not item.remedy for item in signs)
    assert {item.kind for item in signs} >= {TEEKind.TDX, TEEKind.SNP, TEEKind.SGX, TEEKind.TPM, TEEKind.NVIDIA_GPU}


READY: dict[TEEKind, Callable[[Root], Root]] = {
    TEEKind.TDX: lambda root: root.tdx(),
    TEEKind.SNP: lambda root: root.snp(),
    TEEKind.SGX: lambda root: root.gramine(),
    TEEKind.TPM: lambda root: root.having("dev/tpmrm0"),
    TEEKind.NVIDIA_GPU: lambda root: root.having("dev/nvidiactl"),
}


@pytest.mark.parametrize("kind", list(READY))
def test_a_kind_that_is_complete_is_ready(root: Root, kind: TEEKind) -> None:
    """Ready kinds need no remedy, and are the ones detected."""
    READY[kind](root)
    assert sign(root.path, kind).state is SignState.READY
    assert sign(root.path, kind).remedy == ""
    assert detect(root.path) == (kind,)


BLOCKED: dict[str, tuple[TEEKind, Callable[[Root], Root], str]] = {
    "tdx without its module": (TEEKind.TDX, lambda root: root.cpu("fpu tdx_guest sse"), "modprobe tdx_guest"),
    "snp without its module": (TEEKind.SNP, lambda root: root.cpu("sev sev_snp"), "modprobe sev-guest"),
    "tdx without configfs": (TEEKind.TDX, lambda root: root.having("dev/tdx_guest"), "CONFIG_TSM_REPORTS"),
    "snp without configfs": (TEEKind.SNP, lambda root: root.having("dev/sev-guest"), "mount -t configfs"),
    "sgx outside an enclave": (TEEKind.SGX, lambda root: root.having("dev/sgx_enclave"), "gramine-sgx"),
    "sgx without attestation": (TEEKind.SGX, lambda root: root.gramine("none"), "sgx.remote_attestation"),
    "tpm without its manager": (TEEKind.TPM, lambda root: root.having("sys/class/tpm/tpm0/x"), "TPM 2.0"),
    "gpu without a driver": (TEEKind.NVIDIA_GPU, lambda root: root.pci("0x10de"), "modprobe nvidia"),
}


@pytest.mark.parametrize("case", list(BLOCKED))
def test_what_stands_in_the_way_is_named_with_its_remedy(root: Root, case: str) -> None:
    """A machine that has a TEE and cannot use it is told what to do."""
    kind, make, remedy = BLOCKED[case]
    make(root)
    found = sign(root.path, kind)
    assert found.state is SignState.BLOCKED
    assert remedy in found.remedy
    assert kind not in detect(root.path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("kind", [TEEKind.TDX, TEEKind.TPM, TEEKind.NVIDIA_GPU])
def test_a_missing_permission_is_named(root: Root, kind: TEEKind) -> None:
    """A device that is there and closed to this user is blocked by permission."""
    READY[kind](root).closed()
    assert "permission" in sign(root.path, kind).seen


def test_a_missing_permission_is_named_as_any_user(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where tests run as root, who may do everything: the kernel's answer is what counts."""
    for make in READY.values():
        make(root)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for kind in (TEEKind.TDX, TEEKind.SNP, TEEKind.TPM, TEEKind.NVIDIA_GPU):
        assert "no permission" in sign(root.path, kind).seen
        assert sign(root.path, kind).remedy


def test_devices_of_other_makers_are_no_gpus(root: Root) -> None:
    """Another vendor's device on PCI says nothing about NVIDIA."""
    root.pci("0x8086")
    assert sign(root.path, TEEKind.NVIDIA_GPU).state is SignState.ABSENT


def makers(*choices: AttesterChoice) -> dict[AttesterChoice, Callable[[], Attester]]:
    return {choice: lambda: ATTESTER for choice in choices}


def chosen(choice: AttesterChoice, root: Root) -> AttesterChoice:
    """Which maker is asked for `choice` on this machine."""
    asked: list[AttesterChoice] = []

    def maker(name: AttesterChoice) -> Callable[[], Attester]:
        def make() -> Attester:
            asked.append(name)
            return ATTESTER

        return make

    choose_attester(choice, signs=inspect(root.path), makers={name: maker(name) for name in AttesterChoice})
    (only,) = asked
    return only


def test_auto_takes_the_first_confidential_cpu(root: Root) -> None:
    """TDX before SNP before SGX, whichever is ready."""
    root.gramine()
    assert chosen(AttesterChoice.AUTO, root) is AttesterChoice.SGX
    root.snp()
    assert chosen(AttesterChoice.AUTO, root) is AttesterChoice.SNP
    root.tdx()
    assert chosen(AttesterChoice.AUTO, root) is AttesterChoice.TDX


@pytest.mark.parametrize("choice", [AttesterChoice.SIMULATED, AttesterChoice.TPM, AttesterChoice.SGX])
def test_a_named_choice_is_taken_whatever_the_machine_shows(root: Root, choice: AttesterChoice) -> None:
    """Naming an attester is enough; whether its device answers is found out when it is asked."""
    assert chosen(choice, root.tdx()) is choice


def test_auto_never_takes_a_tpm_or_the_simulated_attester(root: Root) -> None:
    """A TPM hides no memory, and SIMULATED proves nothing: neither is chosen by itself."""
    READY[TEEKind.TPM](root)
    READY[TEEKind.NVIDIA_GPU](root)
    with pytest.raises(SettingsError):
        choose_attester(AttesterChoice.AUTO, signs=inspect(root.path), makers=makers(*AttesterChoice))


def test_auto_says_what_stands_in_the_way(root: Root) -> None:
    """A machine whose TEE is blocked is told by what."""
    root.cpu("tdx_guest")
    with pytest.raises(SettingsError, match="module tdx_guest not loaded"):
        choose_attester(AttesterChoice.AUTO, signs=inspect(root.path), makers=makers(*AttesterChoice))


def test_a_choice_nobody_makes_is_a_settings_error(root: Root) -> None:
    """An attester left out of a process cannot be had from it."""
    with pytest.raises(SettingsError, match="want one of simulated"):
        choose_attester(AttesterChoice.TPM, signs=inspect(root.path), makers=makers(AttesterChoice.SIMULATED))
