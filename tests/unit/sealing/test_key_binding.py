# SPDX-License-Identifier: Apache-2.0
"""Keyset, challenge and key binding: form, identities and the slots."""

import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from attestation.binding import Challenge, KeyBinding, Keyset, Profile, SuiteID, device_nonce
from attestation.codec import cbor
from attestation.errors import Malformed

PQ = bytes(1184) + b"p" * 32
CLASSICAL = b"c" * 32


def keyset(**changes: object) -> Keyset:
    """A keyset of both suites."""
    given = Keyset(
        suites=((SuiteID.MLKEM768_X25519, PQ), (SuiteID.X25519, CLASSICAL)),
        receipt_key=b"r" * 32,
        tls_spki_sha256=b"t" * 32,
        generation=7,
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


def challenge(**changes: object) -> Challenge:
    """A challenge with a minute to live."""
    given = Challenge(
        random=b"n" * 32,
        audience="log.example/evidence",
        provider_id=b"p" * 32,
        checkpoint_sha256=b"h" * 32,
        issued=1000,
        expires=1060,
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


def binding(**changes: object) -> KeyBinding:
    """A production binding with a GPU and a switch."""
    given = KeyBinding(
        profile=Profile.PRODUCTION,
        purpose="worker",
        verifier_nonce=b"v" * 32,
        keyset_id=keyset().keyset_id,
        provider_id=b"p" * 32,
        audience="log.example/evidence",
        devices=(("gpu", b"1" * 32), ("switch", b"2" * 32)),
        engines=(b"3" * 32, b"4" * 32),
        config_sha256=b"c" * 32,
        not_after=4600,
    )
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [keyset, challenge, binding], ids=["keyset", "challenge", "binding"])
def test_decoding_gives_back_what_was_encoded(make: Callable[[], Keyset | Challenge | KeyBinding]) -> None:
    """Encode and decode are inverse, and the bytes are the only ones."""
    value = make()
    again = type(value).decode(value.encode())
    assert again == value
    assert again.encode() == value.encode()


def test_ruling_08_three_identities_change_independently() -> None:
    """worker_id is the boot's, keyset_id the generation's, the binding digest the attestation's."""
    renewed, rotated = binding(verifier_nonce=b"w" * 32), keyset(generation=8)
    assert rotated.worker_id == keyset().worker_id
    assert rotated.keyset_id != keyset().keyset_id
    assert renewed.keyset_id == binding().keyset_id
    assert renewed.digest != binding().digest


def test_ruling_05_a_binding_names_its_provider_and_audience() -> None:
    """Evidence made for one provider or market has another report data in the next."""
    for changed in (binding(provider_id=b"q" * 32), binding(audience="other.example/evidence")):
        assert changed.report_data() != binding().report_data()
        assert changed.tpm_extra() != binding().tpm_extra()


def test_ruling_06_the_nonce_depends_on_the_cosigned_checkpoint_and_the_provider() -> None:
    """A nonce proves that the evidence is later than the checkpoint its challenge names."""
    nonce = challenge().verifier_nonce
    changes = ({"checkpoint_sha256": b"i" * 32}, {"provider_id": b"q" * 32}, {"audience": "client"}, {"issued": 1001})
    assert all(challenge(**change).verifier_nonce != nonce for change in changes)


def test_ruling_17_each_slot_holds_a_hash_of_the_size_it_offers() -> None:
    """64 bytes for report_data, 32 for a TPM's extraData, domain-separated."""
    kb = binding().encode()
    assert binding().report_data() == hashlib.sha512(b"\0\0\0\x15sealbid/1 report-data" + kb).digest()
    assert binding().tpm_extra() == hashlib.sha256(b"\0\0\0\x13sealbid/1 tpm-extra" + kb).digest()


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("a201010102"),
        keyset().encode() + b"\x00",
        keyset().encode().replace(b"\x04\x07", b"\x04\x18\x07"),
        b"\xbf" + keyset().encode()[1:] + b"\xff",
    ],
    ids=["duplicate key", "trailing byte", "long integer", "indefinite length"],
)
def test_ruling_18_only_one_encoding_is_accepted(data: bytes) -> None:
    """Bytes that two verifiers could read differently are read by none."""
    with pytest.raises(Malformed):
        Keyset.decode(data)


def test_ruling_19_the_keyset_binds_the_tls_key() -> None:
    """Another TLS key is another keyset, hence another binding."""
    assert keyset(tls_spki_sha256=b"u" * 32).keyset_id != keyset().keyset_id


@pytest.mark.parametrize(
    "suites",
    [
        ((SuiteID.X25519, CLASSICAL), (SuiteID.MLKEM768_X25519, PQ)),
        ((SuiteID.X25519, CLASSICAL), (SuiteID.X25519, b"d" * 32)),
        ((SuiteID.MLKEM768_X25519, PQ), (SuiteID.X25519, PQ[-32:])),
        ((SuiteID.X25519, PQ),),
        (),
    ],
    ids=["descending", "repeated", "shared x25519 part", "wrong length", "none"],
)
def test_ruling_21_a_keyset_with_muddled_suites_is_refused(suites: tuple[tuple[SuiteID, bytes], ...]) -> None:
    """Suites ascend, keys have their suite's length, and no X25519 part serves two suites."""
    with pytest.raises(Malformed):
        keyset(suites=suites)


def test_ruling_21_the_suite_is_part_of_the_key_id() -> None:
    """A key under another suite's number is another key."""
    assert keyset().key_id(SuiteID.X25519) != keyset().key_id(SuiteID.MLKEM768_X25519)


def test_ruling_21_only_version_1_of_the_binding_is_read() -> None:
    """A label of a version to come, or of the past, opens no door."""
    for label in ("sealbid/binding/2", "sealbid/binding/0", "sealbid/keyset/1", 1):
        items = dict(cbor.decode_map(binding().encode(), "sealbid/binding/1", 10))
        with pytest.raises(Malformed):
            KeyBinding.decode(cbor.encode({**items, 0: label}))


def test_ruling_27_development_bindings_never_hash_like_production_ones() -> None:
    """The profile is in the label, hence in the digest and in every slot."""
    development = binding(profile=Profile.DEVELOPMENT)
    assert KeyBinding.decode(development.encode()).profile is Profile.DEVELOPMENT
    assert development.digest != binding().digest
    assert development.report_data() != binding().report_data()


def test_ruling_28_a_binding_names_the_effective_configuration_and_engines() -> None:
    """Another configuration or engine is another binding."""
    assert binding(config_sha256=b"d" * 32).digest != binding().digest
    assert binding(engines=(b"3" * 32,)).digest != binding().digest


def test_ruling_29_a_device_nonce_covers_the_whole_keyset() -> None:
    """A GPU report made for one keyset does not serve another that differs in its receipt key alone."""
    nonce = challenge().verifier_nonce
    other = keyset(receipt_key=b"s" * 32)
    assert device_nonce(nonce, keyset().keyset_id) != device_nonce(nonce, other.keyset_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": (("gpu", b"2" * 32), ("gpu", b"1" * 32))},
        {"devices": (("gpu", b"1" * 32), ("gpu", b"1" * 32))},
        {"devices": (("cpu", b"1" * 32),)},
        {"engines": (b"4" * 32, b"3" * 32)},
        {"purpose": "auditor"},
        {"verifier_nonce": b"v" * 31},
        {"keyset_id": b"v" * 33},
        {"audience": "a" * 257},
        {"not_after": 1 << 64},
        {"not_after": -1},
    ],
)
def test_a_binding_out_of_form_cannot_be_made(changes: dict[str, object]) -> None:
    """What exists encodes to bytes that decode accepts."""
    with pytest.raises(Malformed):
        binding(**changes)


@pytest.mark.parametrize("changes", [{"expires": 1061}, {"random": b"n" * 31}, {"audience": "a" * 257}, {"issued": -1}])
def test_a_challenge_out_of_form_cannot_be_made(changes: dict[str, object]) -> None:
    """A challenge lives at most 60 seconds."""
    with pytest.raises(Malformed):
        challenge(**changes)


def test_a_binding_missing_or_adding_a_key_is_refused() -> None:
    """All listed keys are present and none other."""
    items = dict(cbor.decode_map(binding().encode(), "sealbid/binding/1", 10))
    for wrong in ({key: item for key, item in items.items() if key != 9}, {**items, 10: 0}):
        with pytest.raises(Malformed):
            KeyBinding.decode(cbor.encode(wrong))
