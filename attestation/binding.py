# SPDX-License-Identifier: Apache-2.0
"""Keysets, challenges and key bindings: what a TEE's evidence is bound to (docs/spec.md, 3).

    keys -> keyset_id -> device_nonce -> device reports -> KeyBinding -> the slot each TEE offers

There is no cycle: nothing hashed on the left depends on anything to its right. Every value here is checked when it is
made, so one that exists encodes to bytes that `decode` accepts. Refused: a keyset whose suites are not ascending or
share an X25519 part, a challenge that lives longer than a minute, a binding whose device reports or engines are not
ascending and unique, and any label other than the ones listed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from itertools import pairwise
from typing import Final, Self

from attestation.codec import cbor
from attestation.codec.cbor import Item, decode_map
from attestation.codec.fields import U64_MAX, array, digests, octets, text, uint
from attestation.codec.labels import label, labelled_sha256, sha256
from attestation.errors import Malformed

KEYSET_LABEL: Final = "sealbid/keyset/1"
CHALLENGE_LABEL: Final = "sealbid/challenge/1"
MAX_CHALLENGE_SECONDS: Final = 60
MAX_BINDING_SECONDS: Final = 3600
MAX_DEVICES: Final = 64
MAX_ENGINES: Final = 256
MAX_AUDIENCE_CHARACTERS: Final = 256
DEVICE_KINDS: Final = frozenset({"gpu", "switch"})
PURPOSES: Final = frozenset({"worker", "gateway"})
X25519_BYTES: Final = 32
MLKEM768_EK_BYTES: Final = 1184

_REPORT_DATA: Final = label("report-data")
_TPM_EXTRA: Final = label("tpm-extra")


class SuiteID(IntEnum):
    """The two HPKE suites, best first (docs/spec.md, 1.5)."""

    MLKEM768_X25519 = 1
    X25519 = 2

    @property
    def public_key_bytes(self) -> int:
        """The length of this suite's public key; its last 32 bytes are the X25519 part."""
        return X25519_BYTES + (MLKEM768_EK_BYTES if self is SuiteID.MLKEM768_X25519 else 0)


def suite_id(item: Item, name: str) -> SuiteID:
    """The suite this number names. Raises `Malformed` naming the field."""
    value = uint(item, name, 255)
    try:
        return SuiteID(value)
    except ValueError:
        raise Malformed(f"{name} is {value}, want 1 or 2") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset:
    """The public keys of one generation of one worker (B1), checked and encoded when made.

    Raises:
        Malformed: suites not ascending, a key of the wrong length, or an X25519 part used twice.
    """

    suites: tuple[tuple[SuiteID, bytes], ...]
    receipt_key: bytes
    tls_spki_sha256: bytes
    generation: int
    _encoded: bytes = field(init=False, repr=False, compare=False)
    _worker_id: bytes = field(init=False, repr=False, compare=False)
    _keyset_id: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_suites(self.suites)
        octets(self.receipt_key, "keyset.receipt_key", 32)
        octets(self.tls_spki_sha256, "keyset.tls_spki_sha256", 32)
        uint(self.generation, "keyset.generation")
        encoded = cbor.encode(
            {
                0: KEYSET_LABEL,
                1: [[int(suite), key] for suite, key in self.suites],
                2: self.receipt_key,
                3: self.tls_spki_sha256,
                4: self.generation,
            }
        )
        object.__setattr__(self, "_encoded", encoded)
        object.__setattr__(self, "_worker_id", worker_id(self.receipt_key))
        object.__setattr__(self, "_keyset_id", labelled_sha256("keyset", encoded))

    def encode(self) -> bytes:
        """The canonical bytes."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The keyset of exactly these bytes. Raises `Malformed`."""
        items = decode_map(data, KEYSET_LABEL, 5)
        return cls(
            suites=tuple(_suite_entry(entry) for entry in array(items[1], "keyset.suites", len(SuiteID))),
            receipt_key=octets(items[2], "keyset.receipt_key"),
            tls_spki_sha256=octets(items[3], "keyset.tls_spki_sha256"),
            generation=uint(items[4], "keyset.generation"),
        )

    @property
    def worker_id(self) -> bytes:
        """Who: the receipt key's digest, stable for the boot."""
        return self._worker_id

    @property
    def keyset_id(self) -> bytes:
        """Which keys: the digest of these bytes, stable for the generation."""
        return self._keyset_id

    def key_id(self, suite: SuiteID) -> bytes:
        """Which key of the keyset. It depends on the suite's number, so one suite's key never passes for another's."""
        return labelled_sha256("key", self._keyset_id + bytes((suite,)))

    def public_key(self, suite: SuiteID) -> bytes | None:
        """The suite's public key, or None where this keyset has none."""
        return next((key for entry, key in self.suites if entry == suite), None)


def worker_id(receipt_key: bytes) -> bytes:
    """`H(L("worker") || receipt_pk)`."""
    return labelled_sha256("worker", receipt_key)


def _suite_entry(item: Item) -> tuple[SuiteID, bytes]:
    pair = array(item, "keyset.suite", 2)
    if len(pair) != 2:
        raise Malformed(f"keyset.suite has {len(pair)} items, want 2")
    return suite_id(pair[0], "keyset.suite"), octets(pair[1], "keyset.key")


def _check_suites(suites: tuple[tuple[SuiteID, bytes], ...]) -> None:
    if not suites or any(a >= b for (a, _), (b, _) in pairwise(suites)):
        raise Malformed(f"keyset.suites is {[int(suite) for suite, _ in suites]}, want 1..2 suites ascending")
    for suite, key in suites:
        octets(key, "keyset.key", suite.public_key_bytes)
    # A shared X25519 part would let a holder of the classical suite's secret weaken the hybrid one.
    if len({key[-X25519_BYTES:] for _, key in suites}) != len(suites):
        raise Malformed("keyset has the same x25519 part in two suites, want distinct parts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What evidence must answer (B2). Single use is the issuer's promise; this value cannot know it.

    Raises:
        Malformed: a field of the wrong size, or a life of more than 60 seconds.
    """

    random: bytes
    audience: str
    provider_id: bytes
    checkpoint_sha256: bytes
    issued: int
    expires: int

    def __post_init__(self) -> None:
        octets(self.random, "challenge.random", 32)
        text(self.audience, "challenge.audience", MAX_AUDIENCE_CHARACTERS)
        octets(self.provider_id, "challenge.provider_id", 32)
        octets(self.checkpoint_sha256, "challenge.checkpoint_sha256", 32)
        uint(self.issued, "challenge.issued", U64_MAX - MAX_CHALLENGE_SECONDS)
        uint(self.expires, "challenge.expires", self.issued + MAX_CHALLENGE_SECONDS)

    def encode(self) -> bytes:
        """The canonical bytes."""
        return cbor.encode(
            {
                0: CHALLENGE_LABEL,
                1: self.random,
                2: self.audience,
                3: self.provider_id,
                4: self.checkpoint_sha256,
                5: self.issued,
                6: self.expires,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The challenge of exactly these bytes. Raises `Malformed`."""
        items = decode_map(data, CHALLENGE_LABEL, 7)
        return cls(
            random=octets(items[1], "challenge.random"),
            audience=text(items[2], "challenge.audience", MAX_AUDIENCE_CHARACTERS),
            provider_id=octets(items[3], "challenge.provider_id"),
            checkpoint_sha256=octets(items[4], "challenge.checkpoint_sha256"),
            issued=uint(items[5], "challenge.issued"),
            expires=uint(items[6], "challenge.expires"),
        )

    @property
    def verifier_nonce(self) -> bytes:
        """`H(L("challenge") || challenge)`."""
        return labelled_sha256("challenge", self.encode())


def device_nonce(verifier_nonce: bytes, keyset_id: bytes) -> bytes:
    """The SPDM nonce of every GPU and switch request (B3)."""
    return labelled_sha256("device-nonce", verifier_nonce + keyset_id)


def device_digest(report: bytes) -> bytes:
    """The digest by which a binding names a raw device report, `request || response` as they went over SPDM."""
    return sha256(report)


class Profile(StrEnum):
    """What the evidence may be made of; the two encode under different labels, so their hashes never coincide."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"

    @property
    def binding_label(self) -> str:
        """The label a KeyBinding of this profile starts with."""
        return "sealbid/binding/1" if self is Profile.PRODUCTION else "sealbid/dev-binding/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBinding:
    """One attestation of one keyset: nonce, keys, owner, audience, devices, code and configuration (B4).

    It checks form alone. Whether evidence carries it, and whether its nonce, audience, provider and devices are the
    expected ones, is decided by `attestation.verify`.

    Raises:
        Malformed: unknown purpose or device kind, a digest of the wrong size, or a list not ascending and unique.
    """

    profile: Profile
    purpose: str
    verifier_nonce: bytes
    keyset_id: bytes
    provider_id: bytes
    audience: str
    devices: tuple[tuple[str, bytes], ...]
    engines: tuple[bytes, ...]
    config_sha256: bytes
    not_after: int

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise Malformed("binding.purpose is unknown, want worker or gateway")
        for name in ("verifier_nonce", "keyset_id", "provider_id", "config_sha256"):
            octets(getattr(self, name), f"binding.{name}", 32)
        text(self.audience, "binding.audience", MAX_AUDIENCE_CHARACTERS)
        if any(kind not in DEVICE_KINDS for kind, _ in self.devices):
            raise Malformed("binding.devices has an unknown kind, want gpu or switch")
        digests([digest for _, digest in self.devices], "binding.devices", MAX_DEVICES)
        digests(self.engines, "binding.engines", MAX_ENGINES)
        uint(self.not_after, "binding.not_after")

    def encode(self) -> bytes:
        """The canonical bytes."""
        return cbor.encode(
            {
                0: self.profile.binding_label,
                1: self.purpose,
                2: self.verifier_nonce,
                3: self.keyset_id,
                4: self.provider_id,
                5: self.audience,
                6: [[kind, digest] for kind, digest in self.devices],
                7: self.engines,
                8: self.config_sha256,
                9: self.not_after,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The binding of exactly these bytes, its profile read from the label. Raises `Malformed`."""
        profile, items = _binding_items(data)
        return cls(
            profile=profile,
            purpose=text(items[1], "binding.purpose"),
            verifier_nonce=octets(items[2], "binding.verifier_nonce"),
            keyset_id=octets(items[3], "binding.keyset_id"),
            provider_id=octets(items[4], "binding.provider_id"),
            audience=text(items[5], "binding.audience", MAX_AUDIENCE_CHARACTERS),
            devices=tuple(_device_entry(entry) for entry in array(items[6], "binding.devices", MAX_DEVICES)),
            engines=digests(items[7], "binding.engines", MAX_ENGINES),
            config_sha256=octets(items[8], "binding.config_sha256"),
            not_after=uint(items[9], "binding.not_after"),
        )

    @property
    def digest(self) -> bytes:
        """`binding_digest = H(L("binding") || kb)`: which attestation of the keys."""
        return labelled_sha256("binding", self.encode())

    def report_data(self) -> bytes:
        """The 64 bytes that TDX, SGX and SNP evidence carries."""
        return hashlib.sha512(_REPORT_DATA + self.encode()).digest()

    def tpm_extra(self) -> bytes:
        """The 32 bytes that a TPM's or Azure's AK quote carries: 64 do not fit a TPM2B_DATA without SHA-512."""
        return sha256(_TPM_EXTRA + self.encode())


def _binding_items(data: bytes) -> tuple[Profile, Mapping[int, Item]]:
    found = cbor.decode(data)
    development = isinstance(found, Mapping) and found.get(0) == Profile.DEVELOPMENT.binding_label
    profile = Profile.DEVELOPMENT if development else Profile.PRODUCTION
    return profile, decode_map(data, profile.binding_label, 10)


def _device_entry(item: Item) -> tuple[str, bytes]:
    pair = array(item, "binding.device", 2)
    if len(pair) != 2:
        raise Malformed(f"binding.device has {len(pair)} items, want 2")
    return text(pair[0], "binding.device", 16), octets(pair[1], "binding.device")
