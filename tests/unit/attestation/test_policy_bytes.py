# SPDX-License-Identifier: Apache-2.0
"""An appraisal policy is data: all of it stated, nothing else accepted, known by its bytes."""

import hashlib

import pytest

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.appraisal.reference import AnyOf, AtLeast, Exactly, Unchecked
from attestation.binding import Profile, SuiteID
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from tests.support import fake_tpm
from tests.support.swtpm import tpm_policy_text
from tests.support.worlds import policy_bytes

NOT_ON_EVERY_PRODUCT = {
    "single_socket_required",
    "ciphertext_hiding_required",
    "page_swap_disabled",
    "tsme_enabled",
    "ciphertext_hiding",
    "launch_mitigations",
    "current_mitigations",
}


def refused(data: bytes) -> str:
    with pytest.raises(MalformedEvidence) as error:
        read_policy(data)
    assert error.value.reason is Reason.POLICY_INVALID
    return error.value.message


def test_shipped_policies_read_and_are_known_by_their_bytes() -> None:
    """Both shipped policies read; a policy's digest is the SHA-256 of its file."""
    for name, profile in (("development", Profile.DEVELOPMENT), ("production-strict", Profile.PRODUCTION)):
        data = policy_bytes(name)
        policy = read_policy(data)
        assert policy.profile is profile
        assert policy.sha256 == hashlib.sha256(data).digest()
    skipped = set(read_policy(policy_bytes("production-strict")).unchecked())
    assert skipped == {f"facts.snp.{name}" for name in NOT_ON_EVERY_PRODUCT}


def test_every_key_is_required() -> None:
    """Leaving out any line of the shipped policy is an error that names what is missing."""
    lines = policy_bytes().decode().splitlines()
    keys = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) > 20
    for place in keys:
        left = [line for at, line in enumerate(lines) if at != place]
        message = refused("\n".join(left).encode())
        name = lines[place].partition(" = ")[0].rpartition(".")[2]
        assert name in message or "registers" in message, (name, message)


@pytest.mark.parametrize(
    "extra", ["surprise = 1\n", "[tee.more]\n", "[surprise]\nx = 1\n", "[workload.simulated.registers.image.x]\n"]
)
def test_unknown_keys_are_refused(extra: str) -> None:
    """A misspelt check must not pass for one: whatever is not known is an error."""
    head, tail = policy_bytes().decode().split("[tee]", 1)
    with pytest.raises(MalformedEvidence):
        read_policy(f"{head}{extra if extra[0] != '[' else ''}[tee]{tail}\n{extra if extra[0] == '[' else ''}".encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("profile", '"staging"'),
        ("id", '"My Policy"'),
        ("version", "0"),
        ("kinds", '{ unchecked = "all are welcome" }'),
        ("kinds", '{ any_of = ["tee-of-dreams"] }'),
        ("kinds", '{ any_of = ["simulated", "tdx"] }'),
        ("debug", "false"),
        ("debug", '{ unchecked = "  " }'),
        ("debug", '{ exactly = false, unchecked = "both" }'),
        ("measured_by", '"rtmr3"'),
        ("lease_seconds", "3601"),
        ("lease_seconds", "0"),
        ("max_revocation_staleness_seconds", "3601"),
        ("suites", "[]"),
        ("suites", "[3]"),
        ("suites", "[1, 1]"),
        ("suites", "[1, 2]"),
        ("dedicated_host", '"yes"'),
        ("denied", "[1]"),
        ("denied", '["cpu:00", "ppid:00"]'),
        ("denied", '["cpu:FACADE"]'),
        ("denied", '["cpu: facade"]'),
        ("denied", '["facade"]'),
        ("denied", '["cpu:"]'),
    ],
)
def test_wrong_values_are_refused_by_name(key: str, value: str) -> None:
    """A value of the wrong form or out of bounds is an error naming its key."""
    name = {"measured_by": "measured_by", "suites": "suites"}.get(key, key)
    message = refused(policy_bytes(**{key: value}))
    assert name in message or "allow_classical" in message or "workload.tdx" in message


def test_classical_suite_needs_a_reason() -> None:
    """Suite 2 is listed only together with a spelled-out reason, and the reason only together with suite 2."""
    data = policy_bytes(suites='[1, 2]\nallow_classical = "a peer without ML-KEM"')
    assert read_policy(data).suites == (SuiteID.MLKEM768_X25519, SuiteID.X25519)
    assert "allow_classical" in refused(policy_bytes(suites='[1]\nallow_classical = "for no suite"'))


@pytest.mark.parametrize("data", [b"\xff\xfe", b"id = ", b"[" * 5000, b"a" * (300 << 10)])
def test_garbage_is_refused_not_crashed_on(data: bytes) -> None:
    """Bytes that are no TOML, nest without end or are too many are an error like any other."""
    refused(data)


def test_ruling_27_no_production_policy_can_accept_simulated() -> None:
    """The profile is in the bytes: a production policy that lists `simulated` or debug does not read."""
    assert "simulated" in refused(policy_bytes(profile='"production"'))
    strict = policy_bytes("production-strict")
    assert read_policy(strict).sha256 != read_policy(policy_bytes()).sha256
    assert "devices" in refused(policy_bytes("production-strict", devices='{ unchecked = "any" }'))
    assert "debug" in refused(policy_bytes("production-strict", debug='{ unchecked = "while testing" }'))
    assert "debug" in refused(policy_bytes("production-strict", debug="{ any_of = [false, true] }"))


def test_ruling_28_a_production_policy_says_how_the_workload_is_measured() -> None:
    """Every allowed kind names the register that measures the worker's code, with values for it."""
    assert "measured_by" in refused(
        policy_bytes("production-strict").replace(b'measured_by = "launch"', b'measured_by = "guest"')
    )
    unmeasured = policy_bytes("production-strict", **{"registers.rtmr3": '{ unchecked = "later" }'})
    assert "workload.tdx.registers.rtmr3" in refused(unmeasured)
    head, _, tail = policy_bytes("production-strict").partition(b"[workload.sgx]")
    assert "workload.sgx" in refused(head + b"[facts.tdx]" + tail.partition(b"[facts.tdx]")[2])


@pytest.mark.parametrize("value", ["absent", "", "sha384:", "sha384:" + 96 * "0"])
def test_ruling_28_a_register_nothing_is_measured_into_measures_no_worker(value: str) -> None:
    """The register of the worker's code may be neither absent nor zero, alone or beside a good value."""
    good = "sha384:" + 48 * "11"
    for reference in (f'{{ exactly = "{value}" }}', f'{{ any_of = ["{good}", "{value}"] }}'):
        message = refused(policy_bytes("production-strict", **{"registers.rtmr3": reference}))
        assert "workload.tdx.registers.rtmr3" in message
    read_policy(policy_bytes("production-strict", **{"registers.rtmr3": f'{{ any_of = ["{good}"] }}'}))


@pytest.mark.parametrize("fact", ["ek_root", "activation"])
def test_a_production_policy_names_what_vouches_for_a_tpm(fact: str) -> None:
    """Anybody can found an authority for EKs, or show another's EK: neither root nor activation may be unchecked."""
    good = tpm_policy_text(fake_tpm.good().root, b"\x11" * 32)
    production = good.replace(b'profile = "development"', b'profile = "production"')
    assert TEEKind.TPM in read_policy(production).facts
    lines = [
        f'{fact} = {{ unchecked = "any" }}' if line.startswith(f"{fact} = ") else line
        for line in production.decode().splitlines()
    ]
    assert f"facts.tpm.{fact}" in refused("\n".join(lines).encode())


@pytest.mark.parametrize("identity", ["cpu:" + 8 * "11", "gpu:" + 8 * "11", "switch:" + 8 * "11", "ek:" + 20 * "11"])
def test_a_production_policy_denies_only_what_can_be(identity: str) -> None:
    """An identity of a size that no such device has would deny nothing: it does not read, and is not repeated."""
    message = refused(policy_bytes("production-strict", denied=f'["{identity}"]'))
    assert "platform.denied" in message
    assert identity not in message
    whole = ("cpu:" + 16 * "11", "cpu:" + 64 * "11", "gpu:" + 9 * "11", "switch:" + 9 * "11", "ek:" + 32 * "11")
    assert read_policy(policy_bytes("production-strict", denied=str(list(whole)))).platform_denied == set(whole)


def test_reference_values() -> None:
    """Each form accepts what it says and nothing else; booleans are not integers."""
    assert Exactly(False).accepts(claim=False)
    assert not Exactly(False).accepts(0)
    assert AnyOf(("a", "b")).accepts("b")
    assert not AnyOf(()).accepts("")
    assert AtLeast(3).accepts(3)
    assert not AtLeast(1).accepts(True)
    assert not AtLeast(1).accepts("2")
    assert Unchecked("why").accepts("anything")
    assert Unchecked("why").want() == "unchecked: why"


def test_unchecked_reasons_are_printed() -> None:
    """What a policy leaves unchecked comes with its reason."""
    policy: AppraisalPolicy = read_policy(policy_bytes())
    assert set(policy.unchecked()) == {"code.engines", "code.config", "platform.allowed"}
    assert all(policy.unchecked().values())


def test_every_fact_and_register_of_an_allowed_kind_must_be_spoken_about() -> None:
    """Dropping any one line of a kind's registers, facts or topology is POLICY_INVALID naming it; so is a stray one."""
    lines = policy_bytes("production-strict").decode().splitlines()
    spoken = [
        place
        for place, line in enumerate(lines)
        if " = {" in line
        and line[0] != "#"
        and _section(lines, place).startswith(("[workload.", "[facts.", "[topology"))
    ]
    assert len(spoken) > 70
    for place in spoken:
        name = lines[place].partition(" = ")[0].removeprefix("registers.")
        assert name in refused("\n".join(lines[:place] + lines[place + 1 :]).encode())
    stray = "\n".join(lines).replace("[facts.tdx]", "[facts.tdx]\nsurprise = { exactly = true }")
    assert "surprise" in refused(stray.encode())
    assert "facts.tpm" in refused("\n".join([*lines, "[facts.tpm]"]).encode())


def test_a_reference_value_is_of_its_facts_own_type() -> None:
    """A boolean compared with a text would refuse every machine for the wrong reason: the policy does not read."""
    strict = policy_bytes("production-strict").decode()
    for good, bad in (
        ("migratable = { exactly = false }", 'migratable = { exactly = "false" }'),
        ("migratable = { exactly = false }", "migratable = { at_least = 1 }"),
        ("tcb_age_days = { at_most = 730 }", "tcb_age_days = { any_of = [1, true] }"),
        ("gpus = { exactly = 1 }", 'gpus = { exactly = "1" }'),
    ):
        assert good in strict
        assert "type" in refused(strict.replace(good, bad, 1).encode())


def _section(lines: list[str], place: int) -> str:
    return next(line for line in reversed(lines[: place + 1]) if line.startswith("["))
