# SPDX-License-Identifier: Apache-2.0
"""Recorded TDX and SGX quotes with the collateral of their time, against what is known of each."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from attestation.bundle import Collateral, Evidence
from attestation.claims import ComponentKind, EvidenceClaims, TCBStatus, TEEKind
from attestation.errors import CollateralUnavailable, MalformedEvidence, NotGenuine, Reason
from attestation.facts.vocabularies import VOCABULARIES
from attestation.tee.dcap.verifier import SGXVerifier, TDXVerifier
from attestation.tee.interface import Verifiers
from tests.support.vectors import vectors

VERIFIERS: Verifiers = {TEEKind.TDX: TDXVerifier(), TEEKind.SGX: SGXVerifier()}
CASES = (
    *(
        f"tdx/v4_{name}"
        for name in ("00b2526ab1", "0c699dd453", "12b401a88a", "1d0342e361", "509f50f857", "a123d4904c")
    ),
    *(f"tdx/v4_{name}" for name in ("a187b0da05", "b789d77938", "c39a3a2526", "d0ee491c8f", "f1c8503301")),
    *(f"tdx/v5_{name}" for name in ("4c453ea417", "586c2be0dc", "cf77a6e91e")),
    *(f"sgx/v3_{name}" for name in ("268c068133", "c915aa2943", "f8b81014b6")),
)
ATTRIBUTES_REFUSED = "SEPT_VE_DISABLE is not enabled"


@dataclass(frozen=True)
class Recorded:
    """A quote, one collateral, the time it was judged at, and the verdict recorded then."""

    meta: dict[str, object]
    evidence: Evidence
    collateral: Collateral
    now: datetime
    status: str
    error: str
    advisories: tuple[str, ...]
    evaluation_number: int

    def verify(self, now: datetime | None = None) -> EvidenceClaims:
        """The claims of the quote with this collateral."""
        return VERIFIERS[self.evidence.kind].verify(self.evidence, (self.collateral,), now=now or self.now)


def recorded(case: str) -> list[Recorded]:
    """Every collateral of a case."""
    folder: Path = vectors(*case.split("/"))
    meta = json.loads((folder / "meta.json").read_text())
    kind = TEEKind(case.partition("/")[0])
    evidence = Evidence(kind=kind, format=f"{kind.value}-quote", data=(folder / "quote.bin").read_bytes())
    return [
        Recorded(
            meta=meta,
            evidence=evidence,
            collateral=Collateral(kind="intel-dcap-json", data=(folder / verdict["collateral"]).read_bytes()),
            now=datetime.fromtimestamp(verdict["verify_at_unix"], UTC),
            status=verdict["dcap_qvl_status"],
            error=verdict["error"] or "",
            advisories=tuple(verdict["advisory_ids"]),
            evaluation_number=verdict["tcb_eval"],
        )
        for verdict in meta["verdicts"]
    ]


def registers(claims: EvidenceClaims) -> dict[str, str]:
    """The measured registers by name, in hex."""
    return {one.register: one.digest.hex() for one in claims.measurements}


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_quote_is_judged_as_recorded(case: str) -> None:
    """Accepted quotes have the recorded status and advisories; refused ones are genuine and say what is wrong."""
    for one in recorded(case):
        if "sgxtcbcomponents" in one.error:
            with pytest.raises(MalformedEvidence) as refused:
                one.verify()
            assert refused.value.reason is Reason.UNSUPPORTED
            continue
        claims = one.verify()
        unknown = "No matching TCB level" in one.error
        assert claims.facts["tcb_level"] == ("unknown" if unknown else "known")
        assert (claims.tcb_status is TCBStatus.UNSTATED) is unknown
        assert claims.debug is ("Debug mode" in one.error)
        if one.evidence.kind is TEEKind.TDX:
            assert claims.facts["sept_ve_disable"] is (ATTRIBUTES_REFUSED not in one.error)
        if one.status != "REJECT":
            assert (claims.tcb_status.value, claims.advisories) == (one.status, one.advisories)
        assert claims.facts["tcb_evaluation_number"] == one.evaluation_number


@pytest.mark.parametrize("case", CASES)
def test_claims_are_what_the_quote_holds(case: str) -> None:
    """Registers, slot and platform identity equal those that were read from the quote independently."""
    one = recorded(case)[-1]
    claims, meta, read = one.verify(), one.meta, registers(one.verify())
    assert claims.slot.hex() == meta["report_data"]
    assert claims.platform_ids[0].kind is ComponentKind.CPU
    assert claims.platform_ids[0].value.hex() == meta["ppid"]
    if one.evidence.kind is TEEKind.TDX:
        assert [read[f"rtmr{index}"] for index in range(4)] == meta["rtmr"]
        assert (read["mrtd"], read["mrseam"], read["mrconfigid"]) == (
            meta["mr_td"],
            meta["mr_seam"],
            meta["mr_config_id"],
        )
        assert claims.facts["xfam"] == meta["xfam"]
    else:
        assert (read["mrenclave"], read["mrsigner"]) == (meta["mr_enclave"], meta["mr_signer"])


@pytest.mark.parametrize("case", CASES)
def test_a_verifier_states_exactly_its_vocabulary(case: str) -> None:
    """Every register and fact of the kind's table is stated, and none besides; format 1.0 knows no service TD."""
    one = recorded(case)[-1]
    claims, vocabulary = one.verify(), VOCABULARIES[one.evidence.kind]
    later = (one.evidence.data[:2], one.evidence.data[48:50]) == (b"\5\0", b"\3\0")
    assert tuple(registers(claims)) == tuple(name for name in vocabulary.registers if later or name != "mrservicetd")
    assert set(claims.facts) == set(vocabulary.facts)
    assert all(type(value) is vocabulary.facts[name].type for name, value in claims.facts.items())


@pytest.mark.parametrize("case", CASES)
def test_collateral_is_valid_until_its_first_part_expires(case: str) -> None:
    """The claims name the moment from which nothing is decided; nor is anything a day before it was issued."""
    one = recorded(case)[-1]
    expires = one.verify().collateral_expires
    assert expires.isoformat() == one.meta["verdicts"][-1]["valid_until"]  # type: ignore[index]  # JSON
    assert one.verify(expires - timedelta(seconds=1)).collateral_expires == expires
    for when in (expires, one.now - timedelta(days=1)):
        with pytest.raises(CollateralUnavailable) as undecided:
            one.verify(when)
        assert undecided.value.reason is Reason.COLLATERAL_EXPIRED


def test_newer_collateral_changes_the_verdict_of_the_same_quote() -> None:
    """A platform that was up to date in June 2025 is out of date, with advisories, by January 2026."""
    before, after = recorded("tdx/v4_00b2526ab1")
    assert before.verify().tcb_status is TCBStatus.UP_TO_DATE
    assert after.verify().tcb_status is TCBStatus.OUT_OF_DATE
    assert len(after.verify().advisories) == 7


def test_of_several_collaterals_the_one_for_the_platform_and_time_is_used() -> None:
    """Collateral of other platforms and other times beside the right one changes nothing."""
    right, later = recorded("tdx/v4_00b2526ab1")
    other = recorded("tdx/v4_0c699dd453")[0]
    offered = (other.collateral, later.collateral, right.collateral)
    assert TDXVerifier().verify(right.evidence, offered, now=right.now) == right.verify()


def test_without_collateral_for_the_platform_nothing_is_decided() -> None:
    """No collateral, or that of another FMSPC only, is COLLATERAL_UNAVAILABLE."""
    one, other = recorded("tdx/v4_00b2526ab1")[0], recorded("tdx/v4_f1c8503301")[0]
    for offered in ((), (other.collateral,)):
        with pytest.raises(CollateralUnavailable) as undecided:
            TDXVerifier().verify(one.evidence, offered, now=one.now)
        assert undecided.value.reason is Reason.COLLATERAL_UNAVAILABLE


def test_a_padded_quote_is_the_same_quote() -> None:
    """configfs returns quotes in zeroed buffers of 8 KiB; other bytes after the quote are refused."""
    one = recorded("tdx/v4_c39a3a2526")[0]
    padded = one.evidence.data.ljust(8192, b"\0")
    evidence = Evidence(kind=TEEKind.TDX, format="tdx-quote", data=padded)
    assert TDXVerifier().verify(evidence, (one.collateral,), now=one.now) == one.verify()
    with pytest.raises(MalformedEvidence):
        TDXVerifier().verify(
            Evidence(kind=TEEKind.TDX, format="tdx-quote", data=padded[:-1] + b"\1"), (one.collateral,), now=one.now
        )


def test_a_genuine_quote_is_nothing_under_other_roots() -> None:
    """Under another pinned root the recorded quote's chain is refused."""
    one = recorded("tdx/v4_c39a3a2526")[0]
    with pytest.raises(NotGenuine) as refused:
        TDXVerifier(roots=frozenset({bytes(32)})).verify(one.evidence, (one.collateral,), now=one.now)
    assert refused.value.reason is Reason.ROOT_REFUSED
