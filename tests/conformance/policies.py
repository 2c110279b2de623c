# SPDX-License-Identifier: Apache-2.0
"""The policies that expectations are judged under, as `tests/vectors/expected.toml` describes them.

`capture` is written out from the vocabularies: every fact and register that it does not name below is unchecked. A new
fact is therefore unchecked here until somebody decides otherwise, and decided in the shipped policies from the start.
"""

from collections.abc import Iterator, Mapping

from attestation.appraisal.policy import AppraisalPolicy, read_policy
from attestation.claims import DEVICE_KINDS, TEEKind
from attestation.facts.vocabularies import VOCABULARIES
from tests.support.tree import ROOT

WHY = "recorded by others"
UNCHECKED = f'{{ unchecked = "{WHY}" }}'
CHECKED: Mapping[TEEKind, Mapping[str, str]] = {
    TEEKind.TDX: {"tcb_level": '{ exactly = "known" }', "sept_ve_disable": "{ exactly = true }"},
    TEEKind.SGX: {"tcb_level": '{ exactly = "known" }'},
    TEEKind.SNP: {"product": '{ any_of = ["Genoa", "Turin"] }'},
    TEEKind.AZURE_HCL: {
        "snp_product": '{ any_of = ["Genoa", "Turin", "absent"] }',
        "tdx_tcb_level": '{ any_of = ["known", "absent"] }',
    },
    TEEKind.NVIDIA_GPU: {"driver_rim": '{ exactly = "match" }', "vbios_rim": '{ exactly = "match" }'},
    TEEKind.NVIDIA_SWITCH: {"firmware_rim": '{ exactly = "match" }'},
}
TCB = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")
KINDS = tuple(kind for kind in VOCABULARIES if kind is not TEEKind.SIMULATED)


def policy_named(name: str) -> AppraisalPolicy:
    """The policy a case names: one written here, or a shipped one."""
    if name == "capture":
        return read_policy(capture().encode())
    if name == "capture-ocsp":
        return read_policy(capture(ocsp='{ exactly = "good" }').encode())
    return read_policy((ROOT / "manifests" / "policies" / f"{name}.toml").read_bytes())


def capture(*, ocsp: str = UNCHECKED) -> str:
    """The text of the permissive policy for recorded evidence; a development policy, as it measures no code."""
    return "\n".join(_lines(ocsp)) + "\n"


def _lines(ocsp: str) -> Iterator[str]:
    cpus = [kind for kind in KINDS if kind not in DEVICE_KINDS]
    yield from ('id = "capture"', "version = 1", 'profile = "development"', "[tee]")
    yield f"kinds = {{ any_of = {_texts(kind.value for kind in cpus)} }}"
    yield f"devices = {{ any_of = {_texts(kind.value for kind in DEVICE_KINDS)} }}"
    yield "debug = { exactly = false }"
    yield f"tcb_status = {{ any_of = {_texts(TCB)} }}"
    yield f"advisories = {UNCHECKED}"
    for kind in cpus:
        registers = VOCABULARIES[kind].registers
        yield f"[workload.{kind.value}]"
        yield f'measured_by = "{registers[0]}"'
        yield from (f"registers.{register} = {UNCHECKED}" for register in registers)
    for kind in KINDS:
        names = (*VOCABULARIES[kind].facts, *(VOCABULARIES[kind].registers if kind in DEVICE_KINDS else ()))
        yield from (f"[facts.{kind.value}]",) if names else ()
        checked = dict(CHECKED.get(kind, {}))
        if kind is TEEKind.NVIDIA_GPU:
            checked["ocsp"] = ocsp
        yield from (f"{name} = {checked.get(name, UNCHECKED)}" for name in names)
    yield "[topology]"
    yield from (f"{name} = {UNCHECKED}" for name in ("gpus", "switches", "alike", "linked"))
    yield from ("[code]", f"engines = {UNCHECKED}", f"config = {UNCHECKED}")
    yield from ("[platform]", f"allowed = {UNCHECKED}", "denied = []", "dedicated_host = false")
    yield from ("max_workers_per_cpu = 1", "[freshness]", "max_evidence_age_seconds = 3600")
    yield from ("max_checkpoint_age_seconds = 60", "max_revocation_staleness_seconds = 60", "lease_seconds = 3600")
    yield from ("[sealing]", "suites = [1]")


def _texts(values: Iterator[str] | tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
