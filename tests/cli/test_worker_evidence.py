# SPDX-License-Identifier: Apache-2.0
"""`sealbid worker doctor` and `attest` on machines that are folders: what is there, and what a policy says of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from attestation.binding import Challenge, Profile
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import Reason
from attestation.tee.snp.product import Product
from attestation.tlog.policy import parse_witness_policy
from attestation.trust import TrustRoot
from enclave.attesters import local
from enclave.attesters.device import DeviceFiles
from enclave.attesters.nvml import CCState
from enclave.onboarding import doctor
from sealbid.__main__ import cli
from tests.support import fake_amd
from tests.support.fake_tsm import ARK, ASK, VCEK, FakeGramine, FakeNVML, FakeTSM, table
from tests.support.json_schema import violations
from tests.support.log import ORIGIN, log_signer
from tests.support.machines import Root, root_folder
from tests.support.tree import ROOT
from tests.support.worlds import POLICIES

SCHEMA = json.loads((ROOT / "docs/schema/worker-doctor.schema.json").read_text())
AUDIT_SCHEMA = json.loads((ROOT / "docs/schema/audit-evidence.schema.json").read_text())
NONCE = bytes(range(32))


@pytest.fixture
def machine(tmp_path: Path) -> Root:
    (tmp_path / "root").mkdir()
    return root_folder(tmp_path / "root")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings of a SIMULATED worker of a development registry."""
    trust = TrustRoot(
        origin=ORIGIN,
        log_key=log_signer().verifier,
        lease_key=bytes(range(32)),
        witness_policy=parse_witness_policy("none"),
        profile=Profile.DEVELOPMENT,
    )
    (tmp_path / "trust.toml").write_bytes(trust.to_toml())
    text = f"""
provider = "provider-a"
trust_file = "{tmp_path / "trust.toml"}"
listen = "127.0.0.1:0"
registry = {{ address = "127.0.0.1:1", api_key_file = "none" }}
models = [{{ source = "identity" }}]
attester = {{ kind = "simulated", simulated = {{ cpu = "one" }} }}
"""
    (tmp_path / "worker.toml").write_text(text)
    return tmp_path / "worker.toml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["worker", *map(str, arguments)], prog_name="sealbid")


def diagnosis(*arguments: object) -> tuple[int, Any]:
    """The exit status and the object, which is as its schema says."""
    result = run("doctor", *arguments, "--json")
    found = json.loads(result.stdout)
    assert result.stderr == ""
    assert violations(found, SCHEMA) == []
    assert found["policy"] is None or violations(found["policy"], AUDIT_SCHEMA) == []
    assert found["exit"] == result.exit_code
    return result.exit_code, found


def on_files(monkeypatch: pytest.MonkeyPatch, files: DeviceFiles) -> None:
    """Attesters of this machine read these files."""
    monkeypatch.setattr(local, "LocalFiles", lambda _: files)


def snp_kernel() -> FakeTSM:
    """The kernel of an SNP guest on a chip of another AMD, with that chip's certificates from its host."""

    def report(data: bytes) -> bytes:
        return fake_amd.report(Product.GENOA, 3, {"report_data": data})

    return FakeTSM(make_report=report, provider="sev_guest")


def policy(name: str) -> Path:
    return POLICIES / f"{name}.toml"


def test_a_machine_without_a_tee_is_undecided(machine: Root) -> None:
    """Every kind is named as absent, no evidence is made, and the status says that nothing was decided."""
    code, found = diagnosis("--root", machine.path, "--policy", policy("production-strict"))
    assert code == 20
    assert {kind["state"] for kind in found["kinds"]} == {"absent"}
    assert (found["evidence"], found["policy"]) == (None, None)
    assert found["error"]["reason"] == Reason.UNSUPPORTED
    shown = run("doctor", "--root", machine.path).stdout
    assert all(kind["kind"] in shown for kind in found["kinds"])
    assert "✗ evidence" in shown


def test_what_stands_in_the_way_is_shown_with_its_remedy(machine: Root) -> None:
    """A blocked kind has its remedy beside it, for people and for programs."""
    machine.cpu("tdx_guest").pci("0x10de")
    code, found = diagnosis("--root", machine.path)
    blocked = {kind["kind"]: kind["remedy"] for kind in found["kinds"] if kind["state"] == "blocked"}
    assert code == 20
    assert set(blocked) == {"tdx", "nvidia-gpu"}
    shown = run("doctor", "--root", machine.path).stdout
    assert all(f"remedy: {remedy}" in shown for remedy in blocked.values())


def test_a_device_that_gives_no_evidence_is_undecided(machine: Root) -> None:
    """Files without a kernel behind them look ready, and the trial finds out that they are not."""
    code, found = diagnosis("--root", machine.tdx().path)
    assert code == 20
    assert {kind["kind"]: kind["state"] for kind in found["kinds"]}["tdx"] == "ready"
    assert found["error"]["reason"] == Reason.PEER_UNAVAILABLE
    assert list((machine.path / "sys/kernel/config/tsm/report").iterdir()) == []


def test_a_machine_that_works_and_no_policy_is_accepted(machine: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence was made; what it consists of is shown, and that nobody judged it."""
    on_files(monkeypatch, FakeTSM(make_report=lambda data: b"quote" + data))
    code, found = diagnosis("--root", machine.tdx().path)
    assert code == 0
    assert found["evidence"]["parts"] == [{"kind": "tdx", "format": "tdx-quote"}]
    assert (found["error"], found["policy"]) == (None, None)
    assert "not judged" in run("doctor", "--root", machine.path).stdout


def test_a_policy_says_what_it_would_say_at_the_registry(machine: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial goes through the verifiers of admission: a chip below another root than AMD's is refused for that."""
    kernel = snp_kernel()
    on_files(monkeypatch, kernel)
    code, found = diagnosis("--root", machine.snp().path, "--policy", policy("production-strict"))
    assert code == 20  # the host gave no certificates: nothing was decided
    assert found["policy"]["subjects"][0]["reasons"] == [Reason.ENDORSEMENT_MISSING]
    kernel.auxblob = certificates()
    code, found = diagnosis("--root", machine.path, "--policy", policy("production-strict"))
    assert code == 10
    assert Reason.ROOT_REFUSED in found["policy"]["subjects"][0]["reasons"]
    shown = run("doctor", "--root", machine.path, "--policy", policy("production-strict")).stdout
    assert "✗ genuine" in shown
    assert "remedy:" in shown


def certificates() -> bytes:
    """The certificate table of a host of another AMD."""
    world = fake_amd.good()
    return table(*zip([VCEK, ASK, ARK], [item.data for item in world.collateral], strict=True))


def test_nothing_shown_identifies_the_machine(machine: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither form of the output holds the chip's identity, which the evidence itself does."""
    kernel = snp_kernel()
    kernel.auxblob = certificates()
    on_files(monkeypatch, kernel)
    machine.snp()
    for form in ((), ("--json",)):
        shown = run("doctor", "--root", machine.path, "--policy", policy("production-strict"), *form).stdout
        assert fake_amd.chip_id(Product.GENOA).hex()[:16] not in shown


def test_simulated_evidence_passes_a_development_policy_and_says_so(settings: Path, machine: Root) -> None:
    """By the settings' attester, under the settings' trust root; engines and configuration are left for later."""
    arguments = ("--config", settings, "--root", machine.path)
    code, found = diagnosis(*arguments, "--policy", policy("development"))
    assert (code, found["evidence"]["simulated"], found["policy"]["simulated"]) == (0, True, True)
    assert any("engines" in text for text in found["policy"]["subjects"][0]["unproven"])
    assert "SIMULATED" in run("doctor", *arguments, "--policy", policy("development")).stdout


def test_simulated_evidence_never_passes_a_production_policy(settings: Path, machine: Root) -> None:
    """A production policy has no verifier for it, whatever the settings say."""
    code, found = diagnosis("--config", settings, "--root", machine.path, "--policy", policy("production-strict"))
    assert code != 0
    assert found["policy"]["verdict"] != "accepted"


@pytest.mark.parametrize(
    ("state", "kind_state", "words"),
    [
        (CCState(enabled=False, development_tools=False, ready=False, gpus=8), "blocked", "computing off"),
        (CCState(enabled=True, development_tools=True, ready=True, gpus=8), "blocked", "developer tools"),
        (CCState(enabled=True, development_tools=False, ready=False, gpus=8), "ready", "not yet ready"),
        (CCState(enabled=True, development_tools=False, ready=True, gpus=8), "ready", "ready for work"),
    ],
)
def test_the_driver_says_what_mode_gpus_are_in(machine: Root, state: CCState, kind_state: str, words: str) -> None:
    """Confidential computing off, developer tools on: blocked, with what mends it."""
    machine.having("dev/nvidiactl")
    library = FakeNVML(make_report=lambda index, nonce: b"", chains=[], cc=state)
    (sign,) = [item for item in doctor.examine(machine.path, lambda: library) if item.kind is TEEKind.NVIDIA_GPU]
    assert sign.state.value == kind_state
    assert words in sign.seen
    assert bool(sign.remedy) is (words != "ready for work")
    assert library.asked == ["state", "close"]


def test_a_driver_without_its_library_is_blocked(machine: Root) -> None:
    """A device file without a driver's library behind it is not ready."""
    from enclave.attesters.nvml import NVMLLibrary

    machine.having("dev/nvidiactl")
    signs = doctor.examine(machine.path, lambda: NVMLLibrary.load("libnvidia-ml-not-here.so.1"))
    (sign,) = [item for item in signs if item.kind is TEEKind.NVIDIA_GPU]
    assert sign.state.value == "blocked"


def test_evidence_goes_to_a_file_of_its_owner(settings: Path, machine: Root, tmp_path: Path) -> None:
    """A bundle over the nonce given, readable by its owner alone, which `audit evidence` accepts."""
    out = tmp_path / "evidence.cbor"
    arguments = ("--config", settings, "--root", machine.path, "--out", out, "--nonce", NONCE.hex())
    result = run("attest", *arguments, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["nonce"] == NONCE.hex()
    assert out.stat().st_mode & 0o777 == 0o600
    bundle = EvidenceBundle.decode(out.read_bytes())
    assert Challenge.decode(bundle.challenge).random == NONCE
    assert Challenge.decode(bundle.challenge).audience == ORIGIN
    audited = CliRunner().invoke(cli, ["audit", "evidence", str(out), "--policy", str(policy("development"))])
    assert audited.exit_code == 0, audited.stdout


def test_evidence_goes_to_stdout_and_each_answers_its_own_nonce(settings: Path, machine: Root) -> None:
    """Without a nonce one is drawn; the bytes are the bundle and nothing else."""
    seen = set()
    for _ in range(2):
        result = run("attest", "--config", settings, "--root", machine.path)
        assert (result.exit_code, "SIMULATED" in result.stderr) == (0, True)
        seen.add(Challenge.decode(EvidenceBundle.decode(result.stdout_bytes).challenge).random)
    assert len(seen) == 2


def test_evidence_of_real_devices_is_of_the_production_profile(machine: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without settings a machine attests for nobody, under a production binding."""
    on_files(monkeypatch, FakeGramine(make_quote=lambda data: b"\x03\x00" + bytes(366) + data + bytes(64)))
    result = run("attest", "--root", machine.gramine().path)
    bundle = EvidenceBundle.decode(result.stdout_bytes)
    assert [item.kind for item in bundle.evidence] == [TEEKind.SGX]
    assert b"sealbid/binding/1" in bundle.binding
    assert Challenge.decode(bundle.challenge).provider_id == bytes(32)


WRONG: dict[str, tuple[Callable[[Path], list[object]], int]] = {
    "json without a file": (lambda _: ["--json"], 2),
    "a short nonce": (lambda _: ["--nonce", "00"], 2),
    "no hex": (lambda _: ["--nonce", "zz"], 2),
    "an unwritable file": (lambda folder: ["--config", folder / "worker.toml", "--out", folder / "no/such"], 2),
    "settings that are not there": (lambda folder: ["--config", folder / "none.toml"], 2),
    "no tee": (lambda _: [], 20),
    "no tee, in json": (lambda folder: ["--out", folder / "out", "--json"], 20),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_wrong_use_of_attest_writes_nothing(case: str, settings: Path, machine: Root) -> None:
    """Usage is 2, a machine without a TEE 20; nothing that looks like evidence is written."""
    arguments, code = WRONG[case]
    result = run("attest", "--root", machine.path, *arguments(settings.parent))
    assert result.exit_code == code
    assert b"sealbid/bundle" not in result.stdout_bytes
    assert not (settings.parent / "out").exists()
