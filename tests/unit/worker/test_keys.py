# SPDX-License-Identifier: Apache-2.0
"""Custody of the worker's keys: nothing leaks, nothing serves before its lease, old generations end."""

import asyncio
import copy
import pickle
from dataclasses import replace

import pytest

from attestation.binding import SuiteID
from attestation.certificate import spki_sha256
from attestation.codec import cose
from attestation.errors import NotGenuine, Reason
from attestation.lease import Lease
from attestation.offer import open_offer
from enclave.keys import KeyCustody
from tests.support.attested import NOW, POLICY_SHA256, binding_for
from tests.support.worker import new_lease


def lease_for(custody: KeyCustody, binding_digest: bytes, keyset_id: bytes, provider_id: bytes) -> Lease:
    """A lease as the registry would grant it at `NOW`, for an hour."""
    at = int(NOW.timestamp())
    return Lease(
        worker_id=custody.worker_id,
        keyset_id=keyset_id,
        binding_digest=binding_digest,
        provider_id=provider_id,
        policy_sha256=POLICY_SHA256,
        verdict_index=1,
        verdict_leaf=bytes(32),
        profile=binding_for(custody.propose()).profile,
        issued=at,
        expires=at + 3600,
    )


def test_nothing_shows_or_copies_a_key() -> None:
    """Printing names public ids only; copies and pickles, which could end on a disk, are refused."""
    custody = KeyCustody()
    assert repr(custody) == f"KeyCustody(worker_id={custody.worker_id.hex()}, generation=0)"
    assert "PRIVATE" not in repr(custody.tls)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(custody)


def test_a_keyset_names_this_workers_receipt_and_tls_keys() -> None:
    """Generations differ in their HPKE keys and number, never in who the worker is."""
    custody = KeyCustody()
    first, second = custody.propose(), custody.propose()
    assert first.worker_id == second.worker_id == custody.worker_id
    assert first.tls_spki_sha256 == spki_sha256(custody.tls.certificate_der)
    assert [suite for suite, _ in first.suites] == [SuiteID.MLKEM768_X25519, SuiteID.X25519]
    assert {key for _, key in first.suites}.isdisjoint({key for _, key in second.suites})
    assert (first.generation, second.generation) == (1, 2)


def test_proposed_keys_are_not_in_use() -> None:
    """Before a lease is installed there is no tenure, so nothing can be served or offered."""
    custody = KeyCustody()
    custody.propose()
    assert custody.current(NOW) is None
    assert not custody.needs_rotation


def test_a_lease_for_other_keys_is_refused() -> None:
    """A registry cannot lease keys that were not the ones just proposed."""
    custody = KeyCustody()
    stale = custody.propose()
    custody.propose()
    binding = binding_for(stale)
    lease = replace(lease_for(custody, binding.digest, stale.keyset_id, binding.provider_id))
    with pytest.raises(NotGenuine) as caught:
        custody.install(binding, lease, now=NOW)
    assert caught.value.reason is Reason.KEYSET_MISMATCH


def test_a_lease_for_another_binding_is_refused() -> None:
    """A lease is about one attestation; one for another does not start a tenure."""
    custody = KeyCustody()
    lease = lease_for(custody, bytes(32), bytes(32), bytes(32))
    keyset = custody.propose()
    binding = binding_for(keyset)
    with pytest.raises(NotGenuine) as caught:
        custody.install(binding, replace(lease, keyset_id=keyset.keyset_id), now=NOW)
    assert caught.value.reason is Reason.BINDING_MISMATCH
    assert custody.current(NOW) is None


def test_a_tenure_ends_with_its_lease() -> None:
    """At the second the lease ends there is no current generation any more."""
    custody = KeyCustody()
    attested = new_lease(custody, NOW, [], seconds=100)
    tenure = custody.current(NOW)
    assert tenure is not None
    assert tenure.not_after == int(attested.expires.timestamp())
    assert custody.current(attested.expires) is None


async def test_rotation_wakes_whoever_offers() -> None:
    """Installing a generation is an event that offers wait for."""
    custody = KeyCustody()
    waiting = asyncio.ensure_future(custody.rotated())
    await asyncio.sleep(0)
    assert not waiting.done()
    new_lease(custody, NOW, [])
    async with asyncio.timeout(5):
        await waiting


def test_closing_drops_the_generations_but_still_signs_halves() -> None:
    """What was done can be confirmed after the keys that opened it are gone."""
    custody = KeyCustody()
    attested = new_lease(custody, NOW, [])
    custody.close()
    assert custody.current(NOW) is None
    signed = custody.sign_halves([bytes(32)])
    assert cose.verify(signed, attested.keyset.receipt_key, "worker-half")


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    """A registration cannot pass for an offer: purposes are part of what is signed."""
    custody = KeyCustody()
    attested = new_lease(custody, NOW, [])
    registration = custody.sign_registration(bytes(32), "")
    with pytest.raises(NotGenuine):
        open_offer(registration, attested.keyset.receipt_key)
