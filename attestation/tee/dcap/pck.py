# SPDX-License-Identifier: Apache-2.0
"""What a PCK certificate says of its platform: the SGX extension (1.2.840.113741.1.13.1).

Source: Intel "SGX PCK Certificate and Certificate Revocation List Profile Specification". The extension's DER is read
by dcap-qvl; the certificate's chain is verified elsewhere.
"""

from dataclasses import dataclass
from typing import Final

import dcap_qvl  # type: ignore[import-untyped]  # has stubs of its native part only

from attestation.claims import ComponentID, ComponentKind
from attestation.errors import MalformedEvidence, Reason

SGX_TYPES: Final = {0: "standard", 1: "scalable", 2: "scalable-with-integrity"}
_DYNAMIC_PLATFORM: Final = "1.2.840.113741.1.13.1.7.1"
_CACHED_KEYS: Final = "1.2.840.113741.1.13.1.7.2"
_SMT_ENABLED: Final = "1.2.840.113741.1.13.1.7.3"
_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """One platform as its provisioning certificate describes it. `ppid` and `instance_id` identify the machine."""

    ppid: bytes
    instance_id: bytes
    fmspc: bytes
    pce_id: bytes
    cpu_svn: bytes
    pce_svn: int
    sgx_type: str
    dynamic_platform: bool
    cached_keys: bool
    smt_enabled: bool

    @property
    def ids(self) -> tuple[ComponentID, ...]:
        """The machine's identities: its PPID and, where it has one, the instance id of its set of processors."""
        values = (self.ppid, self.instance_id) if any(self.instance_id) else (self.ppid,)
        return tuple(ComponentID(kind=ComponentKind.CPU, value=value) for value in values)


def read_platform(pck_pem: bytes) -> Platform:
    """The platform of a PCK chain's first certificate. Raises `MalformedEvidence` without a well-formed extension.

    What a multi-processor platform does not state counts as what a policy would refuse: dynamic, cached, SMT. A
    single-processor one (type standard) has none of these fields: it is not dynamic, its keys are not cached, and SMT
    counts as on.
    """
    try:
        extension = dcap_qvl.parse_pck_extension_from_pem(pck_pem)
        ppid, instance = bytes(extension.ppid), bytes(extension.platform_instance_id or b"")
        sgx_type = SGX_TYPES.get(extension.sgx_type)
        flags = [extension.get_value(oid) for oid in (_DYNAMIC_PLATFORM, _CACHED_KEYS, _SMT_ENABLED)]
    except ValueError:
        raise _refused(Reason.MALFORMED, "no such extension", "intel's sgx extension") from None
    if sgx_type is None:
        raise _refused(Reason.UNSUPPORTED, f"sgx type {extension.sgx_type}", f"one of {tuple(SGX_TYPES)}")
    if len(ppid) != _ID_BYTES or len(instance) not in {0, _ID_BYTES}:
        raise _refused(Reason.MALFORMED, "an identity of another size", f"{_ID_BYTES} bytes")
    several = sgx_type != SGX_TYPES[0]
    return Platform(
        ppid=ppid,
        instance_id=instance,
        fmspc=bytes(extension.fmspc),
        pce_id=bytes(extension.pce_id),
        cpu_svn=bytes(extension.cpu_svn),
        pce_svn=extension.pce_svn,
        sgx_type=sgx_type,
        dynamic_platform=_flag(flags[0], unstated=several),
        cached_keys=_flag(flags[1], unstated=several),
        smt_enabled=_flag(flags[2], unstated=True),
    )


def _flag(value: bytes | None, *, unstated: bool) -> bool:
    return unstated if value is None else any(value)


def _refused(reason: Reason, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(reason, f"pck certificate has {got}, want {want}")
