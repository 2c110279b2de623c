# SPDX-License-Identifier: Apache-2.0
"""Transcripts and awards: one encoding, and a replay that finds any lie but a full slot."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestation.codec import cbor
from attestation.codec.labels import labelled_sha256
from attestation.errors import Malformed, NotGenuine, Reason
from gateway.market.auction import Clearing, seed_of
from gateway.market.intent import Intent
from gateway.market.replay import Opening, replay
from gateway.market.service import Awarded, Market, Refusal
from gateway.market.snapshot import Gate
from gateway.market.transcript import Award, Transcript, secret_commitment, transcript_sha256
from tests.support.market import CLOCK, DAY_SECRET, GATEWAY, digest, intent, market, terms, worker

OWNERS = [worker(f"w{n}", provider="ABC"[n % 3]) for n in range(6)]


def busy() -> Market:
    """Six offers; the cheapest is full, the next revoked, the third in another region."""
    made = market([(o, o.offer(100 + n, slots=1, region="us" if n == 2 else "eu-west")) for n, o in enumerate(OWNERS)])
    made.award(intent(), now=CLOCK)
    made.withdraw_worker(OWNERS[1].eligible.keyset_id)
    return made


ASKED = intent(regions=("eu-west",))


def again(transcript: bytes, made: Market, asked: Intent = ASKED, **changes: Any) -> Clearing:
    """Replays against the market's present opening."""
    given: dict[str, Any] = {"openings": made.openings(), "terms": terms(), "day_secret": DAY_SECRET} | changes
    return replay(transcript, intent=asked, **given)


def awarded(made: Market, asked: Intent = ASKED, **kwargs: Any) -> Awarded:
    """An award that must come about."""
    found = made.award(asked, now=CLOCK, **kwargs)
    assert isinstance(found, Awarded)
    return found


def test_a_transcript_is_its_specified_map() -> None:
    """The hand-joined bytes are the canonical map of docs/spec.md section 8.5."""
    made = busy()
    found = awarded(made, attempt=2, exclude=[OWNERS[3].worker_id, digest("someone")])
    walk = bytes((Gate.NO_SLOT, Gate.NO_ATTESTATION, Gate.REGION, Gate.EXCLUDED, 0, 0))
    ids = [entry.offer_id for entry in made.snapshot.index(ASKED.model, ASKED.tier).entries]
    fields: dict[int, cbor.Item] = {
        0: "sealbid/transcript/1",
        1: 1,
        2: GATEWAY,
        3: secret_commitment(DAY_SECRET),
        4: ASKED.sha256,
        5: made.snapshot.root,
        6: 1,
        7: 1_800_000_000,
        8: 2,
        9: sorted([OWNERS[3].worker_id, digest("someone")]),
        10: terms().sha256,
        11: walk,
        12: ids[4],
        13: ids[5],
        14: 105,
    }
    assert found.transcript == cbor.encode(fields)
    assert Transcript.decode(found.transcript).encode() == found.transcript


def test_a_refusals_transcript_is_its_specified_map() -> None:
    """Without a winner the two ids are null and the price is 0."""
    made = busy()
    found = made.award(intent(regions=("mars",)), now=CLOCK)
    assert isinstance(found, Refusal)
    decoded = cbor.decode(found.transcript)
    assert isinstance(decoded, dict)
    assert (decoded[12], decoded[13], decoded[14]) == (None, None, 0)
    assert decoded[11] == bytes((Gate.REGION,)) * 6
    assert cbor.encode(decoded) == found.transcript
    assert found.transcript_sha256 == labelled_sha256("transcript", found.transcript)


@pytest.mark.parametrize("big", [0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1])
def test_every_integer_width_is_canonical(big: int) -> None:
    """Whatever the numbers, hand-joined bytes and general encoder agree."""
    award = replace(awarded(busy()).award, sequence=big, version=big, price_nanos=big, wu_cap=big, now=big)
    assert cbor.encode(cbor.decode(award.encoded)) == award.encoded
    assert Award.decode(award.encoded) == award
    for size in (0, 23, 24, 300):
        made = replace(Transcript.decode(awarded(busy()).transcript), sequence=big, walk=b"\x01" * size)
        assert Transcript.decode(made.encode()) == made


def test_an_award_is_its_specified_map() -> None:
    """The award names what the worker and the receipt need, and cites the transcript."""
    made = busy()
    found = awarded(made)
    assert cbor.decode(found.award.encoded) == {
        0: "sealbid/award/1",
        1: 1,
        2: GATEWAY,
        3: ASKED.sha256,
        4: made.snapshot.root,
        5: 1,
        6: transcript_sha256(found.transcript),
        7: found.offer.offer_id,
        8: found.offer.worker_id,
        9: found.offer.keyset_id,
        10: found.award.price_nanos,
        11: 1000,
        12: 1,
        13: 1_800_000_000,
    }
    assert found.award.sha256 == labelled_sha256("award", found.award.encoded)


def test_the_seed_is_bound_to_everything_it_must_be() -> None:
    """Another secret, gateway, sequence, intent or snapshot gives another seed."""
    base: list[Any] = [DAY_SECRET, GATEWAY, 7, ASKED.sha256, digest("root")]
    seeds = {seed_of(*base)}
    for at, other in enumerate((digest("s"), digest("g"), 8, digest("i"), digest("r"))):
        changed = list(base)
        changed[at] = other
        seeds.add(seed_of(*changed))
    assert len(seeds) == 6


def test_an_award_replays() -> None:
    """Winner, runner-up and price come out again, byte for byte."""
    made = busy()
    found = awarded(made)
    outcome = again(found.transcript, made)
    assert outcome.winner is not None
    assert (outcome.winner.offer_id, outcome.price_nanos) == (found.award.offer_id, found.award.price_nanos)


def test_a_refusal_replays() -> None:
    """A refusal is provable in the same way."""
    made = busy()
    asked = intent(max_price=99)
    found = made.award(asked, now=CLOCK)
    assert isinstance(found, Refusal)
    assert again(found.transcript, made, asked).winner is None


@pytest.mark.parametrize(
    "lie",
    [
        {"price_nanos": 105},
        {"runner_up": None},
        {"walk": b"\x0f\x09\x06\x00"},
        {"walk": b""},
        {"walk": bytes(7)},
        {"now": 1_800_000_060},
        {"excluded": (OWNERS[3].worker_id,)},
        {"sequence": 99, "winner": digest("nobody")},
        {"gateway_id": digest("g"), "winner": digest("nobody")},
        {"version": 2},
        {"snapshot_root": digest("r")},
        {"intent_sha256": digest("i")},
        {"terms_sha256": digest("t")},
        {"secret_commitment": digest("c")},
    ],
)
def test_a_false_transcript_does_not_replay(lie: dict[str, Any]) -> None:
    """Each single lie about an auction is found."""
    made = busy()
    found = awarded(made)
    false = replace(Transcript.decode(found.transcript), **lie)
    with pytest.raises(NotGenuine) as caught:
        again(false.encode(), made)
    assert caught.value.reason is Reason.PROOF_INVALID


@pytest.mark.parametrize("pretext", [Gate.REGION, Gate.PRICE, Gate.EXPIRED, Gate.POLICY, Gate.EXCLUDED, Gate.CONTEXT])
def test_reasons_that_follow_from_the_snapshot_cannot_be_pretended(pretext: Gate) -> None:
    """A gateway that passes a rival over under a pretext, consistently to the last byte, is still found out."""
    made = busy()
    made.snapshot.index(ASKED.model, ASKED.tier).entries[3].bar = pretext
    found = awarded(made)
    assert Transcript.decode(found.transcript).walk[3] == pretext
    with pytest.raises(NotGenuine, match="replays to another"):
        again(found.transcript, made)


@pytest.mark.parametrize(
    "other", [{"terms": terms(reserve=7)}, {"day_secret": digest("x")}, {"openings": ()}, {"asked": intent()}]
)
def test_replay_wants_the_inputs_the_transcript_names(other: dict[str, Any]) -> None:
    """Other terms, secret, openings or intent are refused rather than compared."""
    made = busy()
    found = awarded(made)
    with pytest.raises(NotGenuine):
        again(found.transcript, made, **other)


def test_a_standing_row_of_another_offer_is_malformed() -> None:
    """Openings cannot be mixed."""
    made = busy()
    found = awarded(made)
    first, second, *rest = made.openings()
    crossed = Opening(salt=first.salt, offer=first.offer, standing=second.standing)
    with pytest.raises(Malformed):
        again(found.transcript, made, openings=(crossed, second, *rest))


def test_awards_do_not_depend_on_the_process() -> None:
    """The same market in processes with other hash seeds awards the same bytes."""
    root = Path(__file__).parents[3]
    code = (
        "from tests.unit.market import test_transcript as t\n"
        "found = [t.awarded(t.busy(), t.intent(wu_cap=n)).award.sha256.hex() for n in range(1, 9)]\n"
        "print(''.join(found))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert len(outputs.pop()) > 500
