# SPDX-License-Identifier: Apache-2.0
"""What an audit found, in the forms other relying parties read: an EAR token, and a CMW collection of the evidence.

    .json  an EAR claims set, unsigned           without a key
    .cwt   COSE_Sign1 over an EAR in CBOR        with a key (Ed25519 or P-256, PEM)
    .jwt   JWS over an EAR in JSON               with a key

The file's name chooses the form. An EAR is this verifier's statement and nobody has to believe it: it says under which
policy, by which build, as of when.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from attestation.audit.evidence import Subject
from attestation.audit.judgement import Part, Remark, Verdict
from attestation.bundle import EvidenceBundle
from attestation.claims import TEEKind
from attestation.errors import Malformed, MalformedEvidence, Reason, SettingsError
from attestation.results.appraised import Appraised, Note, result_of
from attestation.results.cmw import encode_cbor, encode_json
from attestation.results.ear import EAR
from attestation.results.token import SigningKey, sign_cwt, sign_jwt
from attestation.results.wrapped_bundle import wrap_bundle

MAX_KEY_BYTES: Final = 16 << 10
_KINDS: Final = frozenset(kind.value for kind in TEEKind)


def ear_of(verdict: Verdict, *, build: str, nonce: bytes | None) -> EAR:
    """The verdict as an attestation result, one submodule per piece of evidence.

    Raises:
        MalformedEvidence: UNSUPPORTED, the subject holds no evidence to state a result about; or the nonce is not of
            8 to 64 bytes.
    """
    parts = [part for part in verdict.parts if not part.endorsement and part.kind in _KINDS]
    if not parts:
        raise MalformedEvidence(
            Reason.UNSUPPORTED, "subject is without evidence of a known kind, want some for a result"
        )
    ends = [part.claims.collateral_expires for part in parts if part.claims is not None]
    return result_of(
        [_appraised(part) for part in parts],
        _notes(verdict.remarks),
        policy=verdict.policy,
        build=build,
        issued=verdict.now,
        expires=min(ends, default=None),
        nonce=nonce or b"",
    )


def write_ear(ear: EAR, name: str, key: SigningKey | None) -> bytes:
    """The token for a file of this name. Raises `SettingsError` where name and key do not go together."""
    form = PurePath(name).suffix
    if key is None and form == ".json":
        return ear.to_json()
    if key is not None and form == ".cwt":
        return sign_cwt(ear, key)
    if key is not None and form == ".jwt":
        return sign_jwt(ear, key).encode()
    raise SettingsError(f"--ear {name} is of no such form, want .json without a key, .cwt or .jwt with --ear-key")


def read_signing_key(pem: bytes) -> SigningKey:
    """An unencrypted Ed25519 or P-256 private key. Raises `SettingsError`, which quotes nothing of it."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise SettingsError("--ear-key is not an unencrypted PEM private key, want Ed25519 or P-256") from None
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise SettingsError("--ear-key is of another type, want Ed25519 or P-256")


def cmw_of(subject: Subject, name: str) -> bytes:
    """An archived bundle as a CMW collection, in JSON for a name in `.json`, else in CBOR.

    It holds raw identities of machines, as the bundle does.

    Raises:
        MalformedEvidence: UNSUPPORTED, the subject is no archived bundle, which alone knows its parts.
    """
    try:
        (data,) = subject.files.values()
        bundle = EvidenceBundle.decode(data)
    except (ValueError, Malformed, MalformedEvidence):
        text = f"subject {subject.name} is no archived bundle, want one for a collection"
        raise MalformedEvidence(Reason.UNSUPPORTED, text) from None
    collection = wrap_bundle(bundle)
    return encode_json(collection) if PurePath(name).suffix == ".json" else encode_cbor(collection)


def _appraised(part: Part) -> Appraised:
    return Appraised(kind=TEEKind(part.kind), claims=part.claims, notes=_notes(part.remarks))


def _notes(remarks: Sequence[Remark]) -> tuple[Note, ...]:
    return tuple(Note(reason=remark.reason, text=remark.text) for remark in remarks)
