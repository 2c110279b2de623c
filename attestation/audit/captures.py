# SPDX-License-Identifier: Apache-2.0
"""Recorded captures of other services: recomputes how they bound their keys, nonce and GPUs into CPU evidence.

A capture is a folder whose `meta.json` names its style in `binding`, in one of the five wordings below. Each style is
recomputed from the fields recorded beside it and reported as matched or not. This is for audits of what others
recorded: no style here is the key binding of Sealbid (docs/spec.md, 3), none commits to a key of ours, and admission
never reads this module.

    sha256-of-nonce-and-key          report_data[0:32] = SHA-256(nonce hex, public key base64) = every GPU nonce
    address-and-nonce                report_data = address, zeros to 32 bytes, nonce; every GPU nonce is the nonce
    sha256-of-address-and-tls        report_data = SHA-256(address, TLS fingerprint), nonce; GPU nonces as above
    sha256-of-keys-nonce-and-gpu     report_data[0:32] = SHA-256(TLS key, HPKE key, nonce, SHA-256 of the raw GPU
                                     answer), which holds exactly the GPU reports of the capture; GPU nonces as above
    sha256-of-keys-and-nonce         report_data[0:32] = SHA-256(TLS key, HPKE key, nonce); no GPU
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.strict_json import JSONObject, read_json

MAX_META_BYTES: Final = 64 << 10
MAX_ANSWER_BYTES: Final = 4 << 20
RAW_GPU_ANSWER: Final = "gpu_raw.json"
_NONCE: Final = 32
_TEXT: Final = 16 << 10
_MAX_GPUS: Final = 32


class Style(StrEnum):
    """The ways of binding that recordings show."""

    NONCE_AND_KEY = "sha256-of-nonce-and-key"
    ADDRESS_AND_NONCE = "address-and-nonce"
    ADDRESS_AND_TLS = "sha256-of-address-and-tls"
    KEYS_NONCE_AND_GPU = "sha256-of-keys-nonce-and-gpu"
    KEYS_AND_NONCE = "sha256-of-keys-and-nonce"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What `meta.json` says of a capture; nothing of it is evidence."""

    style: Style
    nonce: bytes
    meta: JSONObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What the genuine evidence of the capture holds: the CPU's report data, and each GPU's nonce and report."""

    report_data: bytes
    gpu_nonces: tuple[bytes, ...]
    gpu_reports: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """One style recomputed: each equation and whether it holds."""

    style: Style
    equations: tuple[tuple[str, bool], ...]

    @property
    def matches(self) -> bool:
        """True if every equation holds."""
        return all(holds for _, holds in self.equations)


_WORDINGS: Final[tuple[tuple[str, Style], ...]] = (
    ("H=sha256(nonce_hex_ascii||e2e_pubkey_base64_ascii)", Style.NONCE_AND_KEY),
    ("report_data[0:20]=signing_address", Style.ADDRESS_AND_NONCE),
    ("report_data[0:32]=sha256(signing_address||tls_cert_fingerprint)", Style.ADDRESS_AND_TLS),
    ("report_data[0:32]=sha256(tls_key_fp||hpke_key||nonce||gpu_evidence_hash", Style.KEYS_NONCE_AND_GPU),
    ("report_data[0:32]=sha256(tls_key_fp||hpke_key||nonce)", Style.KEYS_AND_NONCE),
)


def read_capture(meta: bytes) -> Capture | None:
    """The capture a `meta.json` describes; None where it describes something else, such as a single quote.

    Raises:
        MalformedEvidence: no such JSON (MALFORMED), or a style of another wording (UNSUPPORTED).
    """
    found = JSONObject(read_json(meta, "capture", MAX_META_BYTES), "capture")
    if "binding" not in found:
        return None
    wording = found.text("binding", _TEXT)
    style = next((style for start, style in _WORDINGS if wording.startswith(start)), None)
    if style is None:
        known = ", ".join(Style)
        raise MalformedEvidence(Reason.UNSUPPORTED, f"capture binding is of another style, want one of {known}")
    return Capture(style=style, nonce=found.octets("client_nonce", _NONCE, _NONCE), meta=found)


def recompute(capture: Capture, reported: Reported, files: Mapping[str, bytes]) -> Recomputed:
    """The style of a capture held against what its evidence reports; `files` are the capture's own, by name.

    Raises:
        MalformedEvidence: a field the style needs is missing or of another form.
    """
    equations = _STYLES[capture.style](capture, reported, files)
    return Recomputed(style=capture.style, equations=tuple(equations))


def _nonce_and_key(capture: Capture, reported: Reported, _: Mapping[str, bytes]) -> Sequence[tuple[str, bool]]:
    text = capture.nonce.hex() + capture.meta.text("e2e_pubkey", _TEXT)
    digest = hashlib.sha256(text.encode()).digest()
    return [
        ("report_data[0:32] is SHA-256(nonce, public key)", reported.report_data[:32] == digest),
        ("every GPU nonce is the same digest", _all(reported, digest)),
    ]


def _address_and_nonce(capture: Capture, reported: Reported, _: Mapping[str, bytes]) -> Sequence[tuple[str, bool]]:
    address = capture.meta.octets("signing_address", 20, 20)
    return [
        ("report_data[0:32] is the address, zero padded", reported.report_data[:32] == address.ljust(32, b"\0")),
        *_nonces(capture, reported),
    ]


def _address_and_tls(capture: Capture, reported: Reported, _: Mapping[str, bytes]) -> Sequence[tuple[str, bool]]:
    address = capture.meta.octets("signing_address", 20, 32)
    fingerprint = capture.meta.octets("tls_cert_fingerprint", 32, 32)
    digest = hashlib.sha256(address + fingerprint).digest()
    return [
        ("report_data[0:32] is SHA-256(address, TLS fingerprint)", reported.report_data[:32] == digest),
        *_nonces(capture, reported),
    ]


def _keys_nonce_and_gpu(capture: Capture, reported: Reported, files: Mapping[str, bytes]) -> Sequence[tuple[str, bool]]:
    answer = files.get(RAW_GPU_ANSWER, b"")
    committed = capture.meta.object("report_data_fields").octets("gpu_evidence_hash", 32, 32)
    digest = hashlib.sha256(_keys(capture) + capture.nonce + committed).digest()
    return [
        ("report_data[0:32] is SHA-256(TLS key, HPKE key, nonce, GPU hash)", reported.report_data[:32] == digest),
        ("report_data[32:64] is zero", not any(reported.report_data[32:])),
        ("the GPU hash is SHA-256 of the raw GPU answer", hashlib.sha256(answer).digest() == committed),
        ("the raw GPU answer holds exactly the GPU reports", _answered(answer) == sorted(reported.gpu_reports)),
        ("every GPU nonce is the nonce", _all(reported, capture.nonce)),
    ]


def _keys_and_nonce(capture: Capture, reported: Reported, _: Mapping[str, bytes]) -> Sequence[tuple[str, bool]]:
    digest = hashlib.sha256(_keys(capture) + capture.nonce).digest()
    return [
        ("report_data[0:32] is SHA-256(TLS key, HPKE key, nonce)", reported.report_data[:32] == digest),
        ("report_data[32:64] is zero", not any(reported.report_data[32:])),
        ("there is no GPU", not reported.gpu_reports),
    ]


_STYLES: Final[Mapping[Style, Callable[[Capture, Reported, Mapping[str, bytes]], Sequence[tuple[str, bool]]]]] = {
    Style.NONCE_AND_KEY: _nonce_and_key,
    Style.ADDRESS_AND_NONCE: _address_and_nonce,
    Style.ADDRESS_AND_TLS: _address_and_tls,
    Style.KEYS_NONCE_AND_GPU: _keys_nonce_and_gpu,
    Style.KEYS_AND_NONCE: _keys_and_nonce,
}


def _nonces(capture: Capture, reported: Reported) -> Sequence[tuple[str, bool]]:
    return [
        ("report_data[32:64] is the nonce", reported.report_data[32:] == capture.nonce),
        ("every GPU nonce is the nonce", _all(reported, capture.nonce)),
    ]


def _all(reported: Reported, nonce: bytes) -> bool:
    """True if there is a GPU and each has this nonce: a capture that lost its GPUs must not match by having none."""
    return bool(reported.gpu_nonces) and all(one == nonce for one in reported.gpu_nonces)


def _keys(capture: Capture) -> bytes:
    fields = capture.meta.object("report_data_fields")
    return fields.octets("tls_key_fp", 32, 32) + fields.octets("hpke_key", 32, 32)


def _answered(answer: bytes) -> list[bytes]:
    """The reports inside a raw GPU answer, `{"evidences": [{"evidence": base64}, ..]}`; none in anything else."""
    try:
        found = JSONObject(read_json(answer, "gpu answer", MAX_ANSWER_BYTES), "gpu answer")
        evidences = found.objects("evidences", _MAX_GPUS)
        return sorted(base64.b64decode(one.text("evidence", _TEXT), validate=True) for one in evidences)
    except (MalformedEvidence, binascii.Error):
        return []
