# SPDX-License-Identifier: Apache-2.0
"""Each recorded style of binding is recomputed, and each thing it commits to breaks it when altered."""

import base64
import hashlib
import json
from dataclasses import replace

import pytest

from attestation.audit.captures import Reported, Style, read_capture, recompute
from attestation.audit.evidence import audit
from attestation.claims import TEEKind
from attestation.errors import MalformedEvidence, Reason
from tests.unit.attestation.audit.recorded import NONCE, QUOTE, REPORT, Says, claims, folder, question

ADDRESS, PRINT, HPKE = b"\xad" * 20, b"\x71" * 32, b"\x48" * 32
ANSWER = json.dumps({"evidences": [{"evidence": base64.b64encode(REPORT).decode()}]}).encode()
KEY = "cHVibGljIGtleQ=="


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


FIELDS = {"tls_key_fp": PRINT.hex(), "hpke_key": HPKE.hex(), "gpu_evidence_hash": sha256(ANSWER).hex()}
WORLDS: dict[Style, tuple[dict[str, object], bytes, bytes]] = {
    Style.NONCE_AND_KEY: (
        {"binding": "H=sha256(nonce_hex_ascii||e2e_pubkey_base64_ascii); and so on", "e2e_pubkey": KEY},
        sha256(NONCE.hex().encode(), KEY.encode()) + bytes(32),
        sha256(NONCE.hex().encode(), KEY.encode()),
    ),
    Style.ADDRESS_AND_NONCE: (
        {"binding": "report_data[0:20]=signing_address (zero padded to 32)", "signing_address": ADDRESS.hex()},
        ADDRESS + bytes(12) + NONCE,
        NONCE,
    ),
    Style.ADDRESS_AND_TLS: (
        {
            "binding": "report_data[0:32]=sha256(signing_address||tls_cert_fingerprint); more",
            "signing_address": ADDRESS.hex(),
            "tls_cert_fingerprint": PRINT.hex(),
        },
        sha256(ADDRESS, PRINT) + NONCE,
        NONCE,
    ),
    Style.KEYS_NONCE_AND_GPU: (
        {
            "binding": "report_data[0:32]=sha256(tls_key_fp||hpke_key||nonce||gpu_evidence_hash[||x])",
            "report_data_fields": FIELDS,
        },
        sha256(PRINT, HPKE, NONCE, sha256(ANSWER)) + bytes(32),
        NONCE,
    ),
    Style.KEYS_AND_NONCE: (
        {"binding": "report_data[0:32]=sha256(tls_key_fp||hpke_key||nonce)", "report_data_fields": FIELDS},
        sha256(PRINT, HPKE, NONCE) + bytes(32),
        b"",
    ),
}


def meta(style: Style, **changes: object) -> bytes:
    return json.dumps({"client_nonce": NONCE.hex(), **WORLDS[style][0], **changes}).encode()


def reported(style: Style) -> Reported:
    _, report_data, gpu = WORLDS[style]
    return Reported(report_data=report_data, gpu_nonces=(gpu,) if gpu else (), gpu_reports=(REPORT,) if gpu else ())


def matches(style: Style, found: Reported, files: dict[str, bytes] | None = None, **changes: object) -> bool:
    capture = read_capture(meta(style, **changes))
    assert capture is not None
    assert capture.style is style
    return recompute(capture, found, {"gpu_raw.json": ANSWER} if files is None else files).matches


@pytest.mark.parametrize("style", Style)
def test_a_style_recomputes_and_every_commitment_counts(style: Style) -> None:
    """As recorded it matches; with another report data, nonce, GPU nonce or number of GPUs it does not."""
    good = reported(style)
    assert matches(style, good)
    for place in (0, 31, 40, 63):
        altered = bytearray(good.report_data)
        altered[place] ^= 1
        # What lies in the second half under this style is not part of what its recordings say.
        if not (style is Style.NONCE_AND_KEY and place > 31):
            assert not matches(style, replace(good, report_data=bytes(altered))), place
    assert not matches(style, good, client_nonce=bytes(32).hex())
    other = bytes(32)
    assert not matches(style, replace(good, gpu_nonces=(other,), gpu_reports=(REPORT + b"x",)))
    if good.gpu_nonces:
        assert not matches(style, replace(good, gpu_nonces=(*good.gpu_nonces, other)))
        assert not matches(style, replace(good, gpu_nonces=(), gpu_reports=()))


@pytest.mark.parametrize(
    "answer", [b"", b"{}", ANSWER + b" ", b'{"evidences":[]}', b'{"evidences":[{"evidence":"!"}]}']
)
def test_another_raw_answer_breaks_the_commitment_to_gpus(answer: bytes) -> None:
    """The CPU committed to the bytes of the answer, and the answer holds exactly the reports beside it."""
    assert not matches(Style.KEYS_NONCE_AND_GPU, reported(Style.KEYS_NONCE_AND_GPU), {"gpu_raw.json": answer})
    assert not matches(Style.KEYS_NONCE_AND_GPU, replace(reported(Style.KEYS_NONCE_AND_GPU), gpu_reports=(b"x",)))


def test_a_file_that_describes_no_capture_is_none() -> None:
    """Without a binding there is nothing to recompute."""
    assert read_capture(b'{"kind": "tdx-quote-v4"}') is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"binding": "some other way"}', Reason.UNSUPPORTED),
        (b'{"binding": 1}', Reason.MALFORMED),
        (b'{"binding": "H=sha256(nonce_hex_ascii||e2e_pubkey_base64_ascii)"}', Reason.MALFORMED),
        (b"[1]", Reason.MALFORMED),
        (b"{", Reason.MALFORMED),
    ],
)
def test_descriptions_that_are_none_are_refused(text: bytes, reason: Reason) -> None:
    """An unknown wording is unsupported, everything else that does not parse malformed."""
    with pytest.raises(MalformedEvidence) as refused:
        read_capture(text)
    assert refused.value.reason is reason


def test_a_capture_whose_binding_fails_is_not_genuine() -> None:
    """In an audit the recomputed style decides, and another nonce than the captured one is refused by name."""
    cpu = Says(claims(TEEKind.TDX, slot=WORLDS[Style.ADDRESS_AND_NONCE][1]))
    good = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT, meta_json=meta(Style.ADDRESS_AND_NONCE))
    verdict = audit(good, [], question(cpu=cpu, nonce=NONCE))
    assert verdict.binding is not None
    assert (verdict.exit, verdict.binding.matches) == (0, True)
    assert audit(good, [], question(cpu=cpu, nonce=bytes(32))).reasons == (Reason.NONCE_MISMATCH,)
    swapped = Says(claims(TEEKind.NVIDIA_GPU, slot=bytes(32)))
    assert audit(good, [], question(cpu=cpu, gpu=swapped)).reasons == (Reason.BINDING_MISMATCH,)
    unknown = folder(tdx_quote_bin=QUOTE, gpu0_report_bin=REPORT, meta_json=b'{"binding": "?"}')
    assert audit(unknown, [], question(cpu=cpu)).reasons == (Reason.UNSUPPORTED,)
