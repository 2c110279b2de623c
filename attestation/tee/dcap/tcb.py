# SPDX-License-Identifier: Apache-2.0
"""Intel's signed statements about platforms: TCB info (version 3) and the quoting enclave's identity; and matching.

A platform's level is the first, highest first, of which no component exceeds the platform's: the 16 SVNs and the PCE
SVN of its PCK certificate and, for TDX, the SVNs its report gives (from index 2 on where index 1 names a version of the
module: index 0 is then judged by the levels of that module). Module and quoting enclave can only make the platform's
status worse: out of date, or revoked. A report of format 1.5 names two TCBs, that of the launch and that of now; both
are judged.

Source: Intel PCS API v4, "Get TCB Info" and "Get Quoting Enclave Identity"; the matching is described there under TCB
info. Signatures and dates are checked in `attestation.tee.dcap.endorsements`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestation.claims import TCBStatus, TEEKind
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.dcap.reports import EnclaveReport, TDReport
from attestation.tee.strict_json import JSONObject, malformed, read_json

MAX_STATEMENT_BYTES: Final = 512 << 10
MAX_LEVELS: Final = 256
MAX_MODULES: Final = 64
MAX_ADVISORIES: Final = 256
_COMPONENTS: Final = 16
_U16: Final = 0xFFFF
_U32: Final = 0xFFFFFFFF
_STATEMENT: Final = {TEEKind.TDX: "TDX", TEEKind.SGX: "SGX"}
_PART_STATUSES: Final = frozenset({TCBStatus.UP_TO_DATE, TCBStatus.OUT_OF_DATE, TCBStatus.REVOKED})
"""What Intel states of modules and quoting enclaves, which have no configuration."""

_ENCLAVE: Final = {TEEKind.TDX: ("TD_QE", (2, 3)), TEEKind.SGX: ("QE", (2,))}
_BY_SEVERITY: Final = (
    TCBStatus.UP_TO_DATE,
    TCBStatus.SW_HARDENING_NEEDED,
    TCBStatus.CONFIGURATION_NEEDED,
    TCBStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TCBStatus.OUT_OF_DATE,
    TCBStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TCBStatus.REVOKED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One TCB level: what it takes to reach it (`svns`, for enclaves and modules a single one) and what it means."""

    svns: tuple[int, ...]
    tdx_svns: tuple[int, ...]
    pce_svn: int
    date: datetime
    status: TCBStatus
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One version of the TDX module: who signs it, its attributes under the mask, and its levels."""

    name: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TCBInfo:
    """Intel's statement about all platforms of one FMSPC."""

    kind: TEEKind
    fmspc: bytes
    pce_id: bytes
    issued: datetime
    next_update: datetime
    evaluation_number: int
    levels: tuple[Level, ...]
    module: Module | None
    modules: tuple[Module, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QEIdentity:
    """Intel's statement about its quoting enclave."""

    issued: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: int
    misc_select_mask: int
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isv_prod_id: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a platform stands; `known` is False if no level of platform, module or quoting enclave is reached."""

    known: bool
    status: TCBStatus
    advisories: tuple[str, ...]
    date: datetime | None


UNKNOWN: Final = Standing(known=False, status=TCBStatus.UNSTATED, advisories=(), date=None)


def read_tcb_info(text: str, kind: TEEKind) -> TCBInfo:
    """The TCB info for platforms of `kind`. Raises `MalformedEvidence`, UNSUPPORTED for another version or kind."""
    info = JSONObject(read_json(text.encode(), "tcb info", MAX_STATEMENT_BYTES), "tcb info")
    version = info.integer("version", _U16)
    if version != 3 or info.text("id", 16) != _STATEMENT[kind] or info.integer("tcbType", _U16) != 0:
        want = f"version 3, id {_STATEMENT[kind]}, type 0"
        raise MalformedEvidence(Reason.UNSUPPORTED, f"tcb info is version {version} or of another id, want {want}")
    tdx = kind is TEEKind.TDX
    modules = info.objects("tdxModuleIdentities", MAX_MODULES) if tdx and "tdxModuleIdentities" in info else ()
    return TCBInfo(
        kind=kind,
        fmspc=info.octets("fmspc", 6, 6),
        pce_id=info.octets("pceId", 2, 2),
        issued=info.time("issueDate"),
        next_update=info.time("nextUpdate"),
        evaluation_number=info.integer("tcbEvaluationDataNumber", _U32),
        levels=_sorted([_platform_level(item, tdx=tdx) for item in info.objects("tcbLevels", MAX_LEVELS)]),
        module=_module(info.object("tdxModule"), "", ()) if tdx else None,
        modules=tuple(_identity(item) for item in modules),
    )


def read_qe_identity(text: str, kind: TEEKind) -> QEIdentity:
    """The identity of the enclave that quotes for `kind`. Raises `MalformedEvidence`, UNSUPPORTED for another."""
    identity = JSONObject(read_json(text.encode(), "qe identity", MAX_STATEMENT_BYTES), "qe identity")
    version, (name, versions) = identity.integer("version", _U16), _ENCLAVE[kind]
    if identity.text("id", 16) != name or version not in versions:
        message = f"qe identity is version {version} or of another id, want {name} of version {versions}"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    return QEIdentity(
        issued=identity.time("issueDate"),
        next_update=identity.time("nextUpdate"),
        evaluation_number=identity.integer("tcbEvaluationDataNumber", _U32),
        misc_select=int.from_bytes(identity.octets("miscselect", 4, 4), "little"),
        misc_select_mask=int.from_bytes(identity.octets("miscselectMask", 4, 4), "little"),
        attributes=identity.octets("attributes", 16, 16),
        attributes_mask=identity.octets("attributesMask", 16, 16),
        mrsigner=identity.octets("mrsigner", 32, 32),
        isv_prod_id=identity.integer("isvprodid", _U16),
        levels=_svn_levels(identity.objects("tcbLevels", MAX_LEVELS)),
    )


def check_quoting_enclave(report: EnclaveReport, identity: QEIdentity) -> None:
    """Raises `NotGenuine` (CHAIN_INVALID) unless the enclave that certified the quoting key is Intel's."""
    matches = (
        report.mrsigner == identity.mrsigner
        and report.isv_prod_id == identity.isv_prod_id
        and report.misc_select & identity.misc_select_mask == identity.misc_select
        and _masked(report.attributes, identity.attributes_mask) == identity.attributes
    )
    if not matches:
        message = "quoting enclave is not the one intel's identity names, want that one"
        raise NotGenuine(Reason.CHAIN_INVALID, message)


def standing(
    info: TCBInfo, identity: QEIdentity, *, cpu_svn: bytes, pce_svn: int, qe_svn: int, report: TDReport | None
) -> Standing:
    """Where a platform with these SVNs stands; `report` is the TDX report, None for SGX; its launch TCB is judged.

    Raises `NotGenuine` (TCB_MISMATCH) if the TDX module is not one that Intel signed.
    """
    platform = next((level for level in info.levels if _reached(level, cpu_svn, pce_svn, report)), None)
    enclave = next((level for level in identity.levels if qe_svn >= level.svns[0]), None)
    module, named = _module_level(info, report) if report else (None, False)
    if platform is None or enclave is None or (named and module is None):
        return UNKNOWN
    parts = [level for level in (platform, module, enclave) if level is not None]
    return Standing(
        known=True,
        status=_converge([level.status for level in parts]),
        advisories=tuple(dict.fromkeys(advisory for level in parts for advisory in level.advisories)),
        date=platform.date,
    )


def worse(one: Standing, other: Standing) -> Standing:
    """What is known of both, and the worse of each."""
    if one.date is None or other.date is None:
        return UNKNOWN
    return Standing(
        known=True,
        status=max(one.status, other.status, key=_BY_SEVERITY.index),
        advisories=tuple(dict.fromkeys((*one.advisories, *other.advisories))),
        date=min(one.date, other.date),
    )


def _converge(statuses: Sequence[TCBStatus]) -> TCBStatus:
    """The status of a platform, the first, with its module and quoting enclave."""
    platform, *parts = statuses
    if TCBStatus.REVOKED in statuses:
        return TCBStatus.REVOKED
    if TCBStatus.OUT_OF_DATE in parts:
        configured = platform in {TCBStatus.UP_TO_DATE, TCBStatus.SW_HARDENING_NEEDED, TCBStatus.OUT_OF_DATE}
        return TCBStatus.OUT_OF_DATE if configured else TCBStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return platform


def _reached(level: Level, cpu_svn: bytes, pce_svn: int, report: TDReport | None) -> bool:
    if pce_svn < level.pce_svn or any(got < want for got, want in zip(cpu_svn, level.svns, strict=True)):
        return False
    if report is None:
        return True
    first = 2 if report.module_version else 0
    pairs = zip(report.tee_tcb_svn[first:], level.tdx_svns[first:], strict=True)
    return all(got >= want for got, want in pairs)


def _module_level(info: TCBInfo, report: TDReport) -> tuple[Level | None, bool]:
    """The level of the running module, and whether there is a statement of levels it must reach."""
    named = bool(report.module_version and info.modules)
    wanted = f"TDX_{report.module_version:02X}"
    module = next((one for one in info.modules if one.name.upper() == wanted), None) if named else info.module
    if module is None:
        return None, True
    if (
        report.mrsignerseam != module.mrsigner
        or _masked(report.seam_attributes, module.attributes_mask) != module.attributes
        or _masked(report.seam_attributes, bytes(byte ^ 0xFF for byte in module.attributes_mask)) != bytes(8)
    ):
        message = "tdx module signer or attributes are others than intel states, want those of intel's tcb info"
        raise NotGenuine(Reason.TCB_MISMATCH, message)
    return next((level for level in module.levels if report.module_svn >= level.svns[0]), None), named


def _platform_level(item: JSONObject, *, tdx: bool) -> Level:
    tcb = item.object("tcb")
    return _level(
        item,
        svns=_components(tcb, "sgxtcbcomponents"),
        tdx_svns=_components(tcb, "tdxtcbcomponents") if tdx else (),
        pce_svn=tcb.integer("pcesvn", _U16),
    )


def _svn_levels(items: Sequence[JSONObject]) -> tuple[Level, ...]:
    levels = [_level(item, svns=(item.object("tcb").integer("isvsvn", _U16),)) for item in items]
    if any(level.status not in _PART_STATUSES for level in levels):
        message = "tcb status of a module or quoting enclave is another, want up to date, out of date or revoked"
        raise MalformedEvidence(Reason.UNSUPPORTED, message)
    return _sorted(levels)


def _level(item: JSONObject, *, svns: tuple[int, ...], tdx_svns: tuple[int, ...] = (), pce_svn: int = 0) -> Level:
    status = item.text("tcbStatus", 64)
    if status not in _BY_SEVERITY:
        raise MalformedEvidence(Reason.UNSUPPORTED, f"tcb status is {status[:32]!r}, want one that is known")
    advisories = item.texts("advisoryIDs", MAX_ADVISORIES, 64) if "advisoryIDs" in item else ()
    return Level(
        svns=svns,
        tdx_svns=tdx_svns,
        pce_svn=pce_svn,
        date=item.time("tcbDate"),
        status=TCBStatus(status),
        advisories=advisories,
    )


def _components(tcb: JSONObject, key: str) -> tuple[int, ...]:
    components = tuple(item.integer("svn", 255) for item in tcb.objects(key, _COMPONENTS))
    if len(components) != _COMPONENTS:
        raise malformed(f"tcb info {key}", f"{len(components)} components", f"{_COMPONENTS}")
    return components


def _identity(item: JSONObject) -> Module:
    return _module(item, item.text("id", 16), _svn_levels(item.objects("tcbLevels", MAX_LEVELS)))


def _module(item: JSONObject, name: str, levels: tuple[Level, ...]) -> Module:
    return Module(
        name=name,
        mrsigner=item.octets("mrsigner", 48, 48),
        attributes=item.octets("attributes", 8, 8),
        attributes_mask=item.octets("attributesMask", 8, 8),
        levels=levels,
    )


def _sorted(levels: list[Level]) -> tuple[Level, ...]:
    # Intel's own library orders levels itself and does not rely on the text's order.
    return tuple(sorted(levels, key=lambda level: (level.svns, level.pce_svn, level.tdx_svns), reverse=True))


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(byte & bit for byte, bit in zip(value, mask, strict=True))
