# SPDX-License-Identifier: Apache-2.0
"""Attested keys and workers without any verification, for tests of what comes after it."""

from datetime import UTC, datetime, timedelta

from attestation.attested import _VERIFIED, AttestedKey, AttestedWorker
from attestation.binding import KeyBinding, Keyset, Profile, SuiteID
from attestation.claims import Claims, ComponentID, ComponentKind, EvidenceClaims, Measurement, TCBStatus, TEEKind
from attestation.identity import provider_id

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
POLICY_SHA256 = bytes(31) + b"\x07"


def some_claims(*, profile: Profile = Profile.DEVELOPMENT, challenged: datetime = NOW) -> Claims:
    """The claims of an ordinary SIMULATED worker."""
    cpu = EvidenceClaims(
        kind=TEEKind.SIMULATED,
        measurements=(Measurement(register="image", algorithm="sha384", digest=bytes(48)),),
        debug=False,
        tcb_status=TCBStatus.UP_TO_DATE,
        advisories=(),
        platform_ids=(ComponentID(kind=ComponentKind.CPU, value=b"platform-one"),),
        slot=bytes(64),
        collateral_expires=challenged + timedelta(days=1),
    )
    return Claims(
        cpu=cpu,
        devices=(),
        profile=profile,
        purpose="worker",
        suites=(SuiteID.MLKEM768_X25519,),
        engines=(),
        config_sha256=bytes(32),
        challenged=challenged,
    )


def binding_for(keyset: Keyset, *, provider: str = "provider-a", engines: tuple[bytes, ...] = ()) -> KeyBinding:
    """A development key binding of `keyset`."""
    return KeyBinding(
        profile=Profile.DEVELOPMENT,
        purpose="worker",
        verifier_nonce=bytes(32),
        keyset_id=keyset.keyset_id,
        provider_id=provider_id(provider),
        audience="registry.test/evidence",
        devices=(),
        engines=engines,
        config_sha256=bytes(32),
        not_after=int(NOW.timestamp()) + 3600,
    )


def attested_for_tests(
    keyset: Keyset,
    *,
    provider: str = "provider-a",
    engines: tuple[bytes, ...] = (),
    endpoint: str = "",
    certificate_der: bytes = b"",
    policy_sha256: bytes = POLICY_SHA256,
    expires: datetime = NOW + timedelta(hours=1),
    verdict_index: int = 1,
    verdict_proof: bytes = b"",
    verdict_entry: bytes = b"",
    binding: KeyBinding | None = None,
) -> AttestedWorker:
    """An `AttestedWorker` that holds `keyset`, with one `AttestedKey` per suite."""
    bound = binding or binding_for(keyset, provider=provider, engines=engines)
    keys = tuple(
        AttestedKey(
            suite=suite,
            public_key=public_key,
            key_id=keyset.key_id(suite),
            keyset_id=keyset.keyset_id,
            worker_id=keyset.worker_id,
            receipt_key=keyset.receipt_key,
            binding_digest=bound.digest,
            profile=bound.profile,
            policy_sha256=policy_sha256,
            expires=expires,
            token=_VERIFIED,
        )
        for suite, public_key in keyset.suites
    )
    claims = some_claims(profile=bound.profile)
    return AttestedWorker(
        keys=keys,
        keyset=keyset,
        binding=bound,
        worker_id=keyset.worker_id,
        keyset_id=keyset.keyset_id,
        binding_digest=bound.digest,
        provider_id=bound.provider_id,
        provider=provider,
        engines=bound.engines,
        endpoint=endpoint,
        certificate_der=certificate_der,
        profile=bound.profile,
        policy_sha256=policy_sha256,
        claims_sha256=claims.sha256,
        verdict_index=verdict_index,
        verdict_proof=verdict_proof,
        verdict_entry=verdict_entry,
        expires=expires,
        claims=claims,
        token=_VERIFIED,
    )
