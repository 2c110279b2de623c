# SPDX-License-Identifier: Apache-2.0
"""Attestation results go out as the draft spells them, come back the same, and never claim more than was found."""

import json
from dataclasses import replace

import pytest

from attestation.errors import MalformedEvidence, Reason
from attestation.results import eat_cbor
from attestation.results.ear import EAR, MAX_SUBMODS, read_cbor, read_ear_json
from attestation.results.trust import Tier
from tests.support.ears import NOW, appraisal, ear


def test_json_has_the_drafts_names() -> None:
    """Names, tiers and vector as in the examples of draft-ietf-rats-ear-04."""
    got = json.loads(ear(nonce=b"12345678", submods={"cpu": appraisal()}).to_json())
    assert got["eat_profile"] == "tag:ietf.org,2026:rats/ear#04"
    assert got["iat"] == int(NOW.timestamp())
    assert got["exp"] == got["iat"] + 3600
    assert got["ear_status"] == "affirming"
    assert got["eat_nonce"] == "MTIzNDU2Nzg"
    assert got["ear_verifier_id"].keys() == {"developer", "build"}
    cpu = got["submods"]["cpu"]
    assert cpu["ear_status"] == "affirming"
    assert cpu["ear_trustworthiness_vector"] == {"hardware": 2, "executables": 3}
    assert cpu["ear_appraisal_policy_ids"][0].startswith("production-strict/1/")
    assert cpu["ear_verifier_claims"] == {"unproven": ["one sentence", "and another"]}


def test_cbor_has_the_drafts_numbers() -> None:
    """Labels 265, 6, 4, 10, 266 and 1000 to 1006, tiers and claims as integers."""
    item, tag = eat_cbor.decode(ear(nonce=b"12345678", submods={"cpu": appraisal()}).to_cbor(), "ear")
    assert tag is None
    assert isinstance(item, dict)
    assert set(item) == {265, 6, 4, 10, 266, 1000, 1004}
    assert item[1000] == 2
    assert item[10] == b"12345678"
    assert set(item[1004]) == {0, 1}
    cpu = item[266]["cpu"]
    assert set(cpu) == {1000, 1001, 1003, 10, 1005, 1006}
    assert cpu[1001] == {4: 2, 2: 3}


@pytest.mark.parametrize("one", [ear(), ear(nonce=bytes(64)), replace(ear(), expires=None)])
def test_both_forms_come_back_the_same(one: EAR) -> None:
    """Reading gives the value that was written."""
    assert read_cbor(one.to_cbor()) == one
    assert read_ear_json(one.to_json()) == one


def test_unknown_claims_are_ignored() -> None:
    """A newer verifier's extra claims do not make a result unreadable."""
    named = json.loads(ear().to_json())
    named |= {"ear_device_topology": {"cpu": ["gpu0"]}, "x": None}
    named["submods"]["cpu"]["somebody.else"] = {"a": [1, 2]}
    named["submods"]["cpu"]["ear_trustworthiness_vector"]["future-claim"] = 5
    assert read_ear_json(json.dumps(named).encode()) == ear()
    numbered, _ = eat_cbor.decode(ear().to_cbor(), "ear")
    assert isinstance(numbered, dict)
    assert read_cbor(eat_cbor.encode({**numbered, -70000: b"x", "text": [None]})) == ear()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("eat_profile",), "tag:github.com,2023:veraison/ear"),
        (("iat",), "yesterday"),
        (("iat",), True),
        (("iat",), -1),
        (("exp",), 10**18),
        (("ear_status",), 2),
        (("ear_status",), "excellent"),
        (("ear_verifier_id",), {}),
        (("ear_verifier_id",), "me"),
        (("submods",), {}),
        (("submods",), []),
        (("submods", "cpu"), None),
        (("submods", "cpu", "ear_status"), "none at all"),
        (("submods", "cpu", "ear_trustworthiness_vector"), {"hardware": 128}),
        (("submods", "cpu", "ear_trustworthiness_vector"), {"hardware": True}),
        (("submods", "cpu", "ear_appraisal_policy_ids"), []),
        (("submods", "cpu", "ear_appraisal_policy_ids"), [1]),
        (("submods", "cpu", "eat_nonce"), "AAAA="),
        (("submods", "cpu", "eat_nonce"), "AA"),
        (("submods", "cpu", "eat_nonce"), "A" * 200),
        (("submods", "cpu", "ear_attester_claims"), {"a": {"b": 1}}),
        (("submods", "cpu", "ear_attester_claims"), {"a": [1]}),
    ],
)
def test_what_is_no_result_is_one_named_error(path: tuple[str, ...], value: object) -> None:
    """Wrong types, tiers, times, nonces and profiles are refused, whoever signed them."""
    named = json.loads(ear().to_json())
    at = named
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(MalformedEvidence) as refused:
        read_ear_json(json.dumps(named).encode())
    assert refused.value.reason is (Reason.UNSUPPORTED if path == ("eat_profile",) else Reason.MALFORMED)


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        (Tier.AFFIRMING, appraisal(Tier.AFFIRMING, hardware=32)),
        (Tier.AFFIRMING, appraisal(Tier.WARNING, hardware=96)),
        (Tier.AFFIRMING, appraisal(Tier.WARNING, hardware=32)),
        (Tier.WARNING, appraisal(Tier.CONTRAINDICATED, hardware=99)),
    ],
)
def test_no_status_is_above_its_worst_claim(whole: Tier, part: object) -> None:
    """A result that gives more trust than its parts cannot be made, nor read."""
    with pytest.raises(MalformedEvidence):
        ear(whole, {"cpu": part})  # type: ignore[dict-item]


def test_a_lower_status_than_the_claims_is_allowed() -> None:
    """A policy may refuse what the claims alone would affirm."""
    part = appraisal(Tier.CONTRAINDICATED, hardware=2)
    assert read_cbor(ear(Tier.CONTRAINDICATED, {"cpu": part}).to_cbor()).status is Tier.CONTRAINDICATED


def test_the_number_of_parts_is_bounded() -> None:
    """None and too many are refused."""
    with pytest.raises(MalformedEvidence):
        replace(ear(), submods={})
    with pytest.raises(MalformedEvidence):
        ear(submods={f"gpu{number}": appraisal() for number in range(MAX_SUBMODS + 1)})
