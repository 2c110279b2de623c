# SPDX-License-Identifier: Apache-2.0
"""The appraisal policy: TOML bytes that say what is acceptable, known by their SHA-256 (docs/spec.md, 3.11).

    id, version, profile = "production" | "development"
    [tee]        kinds, devices, debug, tcb_status, advisories      reference values
    [workload.<kind>], [facts.<kind>], [topology]                   see `attestation.appraisal.kinds`
    [code]       engines, config                                    reference values over hex digests
    [platform]   allowed = reference value over "kind:hex", denied = [..], dedicated_host, max_workers_per_cpu
    [freshness]  max_evidence_age_seconds, max_checkpoint_age_seconds, max_revocation_staleness_seconds, lease_seconds
    [sealing]    suites = [1 | 2, ..] best first; allow_classical = "reason" exactly when suite 2 is listed

A missing key and an unknown key are both errors. A production policy cannot be written so that it accepts `simulated`,
debug, or a worker whose code no register measures (rulings 27 and 28). A denied identity must be spelt as one is.
"""

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from attestation.appraisal.kinds import Topology, Workload, read_facts, read_topology, read_workloads
from attestation.appraisal.reference import AnyOf, Exactly, ReferenceValue, Unchecked, scalars
from attestation.appraisal.tables import Table, invalid
from attestation.binding import Profile, SuiteID
from attestation.claims import DEVICE_KINDS, Scalar, TEEKind
from attestation.errors import Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.lease import MAX_LEASE_SECONDS

MAX_POLICY_BYTES: Final = 256 << 10
MIN_LEASE_SECONDS: Final = 10
_DENIED: Final = re.compile(r"(cpu|gpu|switch|ek):((?:[0-9a-f]{2})+)")
_ROOTS_OF_TRUST: Final = frozenset({Reason.ROOT_REFUSED, Reason.ACTIVATION_MISSING})
_IDENTITY_BYTES: Final[Mapping[str, Collection[int]]] = {"cpu": (16, 64), "gpu": (9,), "switch": (9,), "ek": (32,)}
"""PPIDs and instance ids, chip ids (padded on Turin), serial numbers of NVIDIA's devices, digests of EKs."""

_ID: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_YEAR: Final = 366 * 86400
_CPU_KINDS: Final = frozenset(TEEKind) - set(DEVICE_KINDS)


@dataclass(frozen=True, kw_only=True)
class AppraisalPolicy:
    """What one party accepts. Built by `read_policy` from bytes, whose digest it carries."""

    data: bytes
    id: str
    version: int
    profile: Profile
    kinds: AnyOf
    devices: AnyOf
    debug: ReferenceValue
    tcb_status: ReferenceValue
    advisories: ReferenceValue
    workloads: Mapping[TEEKind, Workload]
    facts: Mapping[TEEKind, Mapping[str, ReferenceValue]]
    topology: Topology
    engines: ReferenceValue
    config: ReferenceValue
    platform_allowed: ReferenceValue
    platform_denied: frozenset[str]
    dedicated_host: bool
    max_workers_per_cpu: int
    max_evidence_age_seconds: int
    max_checkpoint_age_seconds: int
    max_revocation_staleness_seconds: int
    lease_seconds: int
    suites: tuple[SuiteID, ...]
    allow_classical: str

    @cached_property
    def sha256(self) -> bytes:
        """The digest of the policy's bytes, by which leases, receipts and keys cite it."""
        return hashlib.sha256(self.data).digest()

    @property
    def simulated(self) -> bool:
        """True for a development policy: whatever it accepts is SIMULATED."""
        return self.profile is Profile.DEVELOPMENT

    def unchecked(self) -> dict[str, str]:
        """Every skipped check and its stated reason, for audits to print."""
        values: dict[str, ReferenceValue] = {
            "tee.debug": self.debug,
            "tee.tcb_status": self.tcb_status,
            "tee.advisories": self.advisories,
            "code.engines": self.engines,
            "code.config": self.config,
            "platform.allowed": self.platform_allowed,
        }
        values |= {f"topology.{name}": value for name, value in self.topology.references().items()}
        for kind, workload in self.workloads.items():
            values |= {f"workload.{kind.value}.{name}": value for name, value in workload.registers.items()}
        for kind, facts in self.facts.items():
            values |= {f"facts.{kind.value}.{name}": value for name, value in facts.items()}
        return {name: value.reason for name, value in values.items() if isinstance(value, Unchecked)}


def read_policy(data: bytes) -> AppraisalPolicy:
    """The policy these bytes spell. Raises `MalformedEvidence` (POLICY_INVALID) naming the first wrong key."""
    root = Table(_parse(data), "")
    tee, code, platform = root.table("tee"), root.table("code"), root.table("platform")
    freshness, sealing, topology = root.table("freshness"), root.table("sealing"), root.table("topology")
    cpus, devices = _kinds(tee, "kinds", _CPU_KINDS), _kinds(tee, "devices", DEVICE_KINDS)
    suites, allow_classical = _suites(sealing)
    profile = _profile(root)
    policy = AppraisalPolicy(
        data=data,
        id=_id(root),
        version=root.integer("version", 1, 1 << 31),
        profile=profile,
        kinds=cpus,
        devices=devices,
        debug=tee.reference("debug"),
        tcb_status=tee.reference("tcb_status"),
        advisories=tee.reference("advisories"),
        workloads=read_workloads(root.table("workload"), _named(cpus)),
        facts=read_facts(root.tables("facts"), _named(cpus) + _named(devices)),
        topology=read_topology(topology),
        engines=code.reference("engines"),
        config=code.reference("config"),
        platform_allowed=platform.reference("allowed"),
        platform_denied=_denied(platform, profile),
        dedicated_host=platform.boolean("dedicated_host"),
        max_workers_per_cpu=platform.integer("max_workers_per_cpu", 1, 4096),
        max_evidence_age_seconds=freshness.integer("max_evidence_age_seconds", 1, _YEAR),
        max_checkpoint_age_seconds=freshness.integer("max_checkpoint_age_seconds", 1, _YEAR),
        max_revocation_staleness_seconds=freshness.integer("max_revocation_staleness_seconds", 1, MAX_LEASE_SECONDS),
        lease_seconds=freshness.integer("lease_seconds", MIN_LEASE_SECONDS, MAX_LEASE_SECONDS),
        suites=suites,
        allow_classical=allow_classical,
    )
    for table in (tee, code, platform, freshness, sealing, topology, root):
        table.done()
    if policy.profile is Profile.PRODUCTION:
        _check_production(policy)
    return policy


def _parse(data: bytes) -> dict[str, object]:
    if len(data) > MAX_POLICY_BYTES:
        raise invalid("", f"{len(data)} bytes", f"at most {MAX_POLICY_BYTES}")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        # The parser's text may quote any line of the file; its position alone is not worth that.
        raise invalid("", "not TOML in UTF-8", "TOML") from None


def _id(root: Table) -> str:
    value = root.text("id")
    if not _ID.fullmatch(value):
        raise invalid("id", "no such name", "lower-case letters, digits, dot, dash, underscore or slash, at most 128")
    return value


def _profile(root: Table) -> Profile:
    value = root.text("profile")
    if value not in set(Profile):
        raise invalid("profile", repr(value), "production or development")
    return Profile(value)


def _kinds(tee: Table, key: str, known: Collection[TEEKind]) -> AnyOf:
    value = tee.reference(key)
    names = {kind.value for kind in known}
    if not isinstance(value, AnyOf) or not set(value.values) <= names or (key == "kinds" and not value.values):
        raise invalid(f"tee.{key}", value.want(), "any_of with kinds among " + ", ".join(sorted(names)))
    return value


def _denied(platform: Table, profile: Profile) -> frozenset[str]:
    """The identities denied. One that no device can have denies nothing, and nobody would notice."""
    texts = platform.texts("denied")
    for place, text in enumerate(texts):
        found = _DENIED.fullmatch(text)
        sizes = _IDENTITY_BYTES[found[1]] if found else ()
        if found is None or (profile is Profile.PRODUCTION and len(found[2]) // 2 not in sizes):
            want = "cpu: with 16 or 64 bytes, gpu: or switch: with 9, ek: with 32, in lower-case hex"
            raise invalid("platform.denied", f"no such identity at place {place}", want)
    return frozenset(texts)


def _named(kinds: AnyOf) -> list[TEEKind]:
    return [TEEKind(str(value)) for value in dict.fromkeys(kinds.values)]


def _suites(sealing: Table) -> tuple[tuple[SuiteID, ...], str]:
    numbers = sealing.integers("suites")
    if not numbers or len(set(numbers)) != len(numbers) or not set(numbers) <= set(SuiteID):
        raise invalid("sealing.suites", str(numbers), "1 or 2, each at most once")
    classical = SuiteID.X25519 in numbers
    reason = sealing.text("allow_classical") if classical or "allow_classical" in sealing.names() else ""
    if reason and not classical:
        raise invalid("sealing.allow_classical", "given", "absent, as suite 2 is not listed")
    return tuple(SuiteID(number) for number in numbers), reason


def _check_production(policy: AppraisalPolicy) -> None:
    if TEEKind.SIMULATED.value in policy.kinds.values:
        raise invalid("tee.kinds", "simulated", "no simulated kind under profile production")
    if policy.debug != Exactly(False):
        raise invalid("tee.debug", policy.debug.want(), "exactly false under profile production")
    for kind, workload in policy.workloads.items():
        name = f"workload.{kind.value}.registers.{workload.measured_by}"
        reference = workload.registers[workload.measured_by]
        if not isinstance(reference, (Exactly, AnyOf)):
            raise invalid(name, "unchecked", "reference values: it is what measures the worker's code")
        if any(map(_measures_nothing, scalars(reference))):
            raise invalid(name, "absent or zero", "digests: it is what measures the worker's code")
    for kind, facts in policy.facts.items():
        for name, fact in VOCABULARIES[kind].facts.items():
            if fact.reason in _ROOTS_OF_TRUST and not isinstance(facts[name], (Exactly, AnyOf)):
                want = "reference values: anybody can make evidence that nothing vouches for"
                raise invalid(f"facts.{kind.value}.{name}", "unchecked", want)


def _measures_nothing(value: Scalar) -> bool:
    """True for a register that is not there, and for one that nothing was measured into."""
    return not str(value).partition(":")[2].strip("0")
