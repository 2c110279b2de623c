# SPDX-License-Identifier: Apache-2.0
"""NVIDIA evidence as hostile input: any bytes give claims or one named error, and no altered byte is accepted."""

import base64
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.bundle import Collateral, Evidence
from attestation.claims import EvidenceClaims, TEEKind
from attestation.errors import AttestationError, MalformedEvidence
from attestation.tee.nvidia.chain import DeviceChain
from attestation.tee.nvidia.fwid import read_composite_device_id, read_tcb_info
from attestation.tee.nvidia.ocsp import StoredResponse
from attestation.tee.nvidia.report import GPUReport, SwitchReport
from tests.support.fake_nvidia import NONCE, NOW, FakeDevice, FakeNVIDIA, fwid_of, measured, unsigned

NVIDIA = FakeNVIDIA()
GPU = NVIDIA.gpu()
SWITCH = NVIDIA.switch()
GPU_REPORT = GPU.report(switches=[SWITCH])
SWITCH_REPORT = SWITCH.report(gpus=[GPU])
GPU_VERIFIER = NVIDIA.verifier()
SWITCH_VERIFIER = NVIDIA.switch_verifier()
PARSERS = [
    (GPUReport.read, GPU_REPORT),
    (SwitchReport.read, SWITCH_REPORT),
    (DeviceChain.read, GPU.chain.data),
    (StoredResponse.read, NVIDIA.statements(GPU)[0].data),
    (read_composite_device_id, fwid_of("GH100", bytes(48)).value),
    (read_tcb_info, fwid_of("GB100", bytes(48)).value),
]
NAMES = ["gpu", "switch", "chain", "ocsp", "composite-device-id", "tcb-info"]


def accepted(device: FakeDevice, report: bytes, collateral: Sequence[Collateral]) -> EvidenceClaims | None:
    """The claims, or None if the evidence is refused by a named error."""
    verifier = SWITCH_VERIFIER if device is SWITCH else GPU_VERIFIER
    try:
        return verifier.verify(device.evidence(report), collateral, now=NOW)
    except AttestationError:
        return None


@pytest.mark.parametrize(("parse", "good"), PARSERS, ids=NAMES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_parser_is_total(parse, good, data) -> None:  # type: ignore[no-untyped-def]
    """Random, truncated, spliced and bit-flipped bytes give a value or `MalformedEvidence`."""
    cut = data.draw(st.integers(0, len(good)))
    middle = data.draw(st.binary(max_size=64))
    again = data.draw(st.integers(0, len(good)))
    for hostile in (middle, good[:cut], good[:cut] + middle + good[again:]):
        with suppress(MalformedEvidence):
            parse(hostile)


@pytest.mark.parametrize(("parse", "good"), PARSERS, ids=NAMES)
def test_every_truncation_is_refused(parse, good) -> None:  # type: ignore[no-untyped-def]
    """No prefix of a good value is a value; what a chain ends with is white space."""
    for end in range(len(good.rstrip(b"\n"))):
        with pytest.raises(MalformedEvidence):
            parse(good[:end])


@pytest.mark.parametrize(("parse", "good"), PARSERS[:2], ids=NAMES[:2])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_lengths_that_lie_are_refused(parse, good, data) -> None:  # type: ignore[no-untyped-def]
    """Any other count of blocks, record length, opaque length or field size does not add up."""
    record = int.from_bytes(good[42:45], "little")
    opaque = 45 + record + 32
    at, width = data.draw(st.sampled_from([(41, 1), (42, 3), (opaque, 2), (opaque + 4, 2)]))
    lie = data.draw(st.binary(min_size=width, max_size=width).filter(lambda value: value != good[at : at + width]))
    with pytest.raises(MalformedEvidence):
        parse(good[:at] + lie + good[at + width :])


@given(
    fields=st.dictionaries(st.integers(0, 40), st.binary(max_size=160), max_size=30),
    digests=st.dictionaries(st.integers(0, 70), st.binary(min_size=48, max_size=48), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_what_a_genuine_device_signs_is_claims_or_one_named_error(
    fields: dict[int, bytes], digests: dict[int, bytes]
) -> None:
    """Even a device that signs nonsense gets no further than a named error."""
    blocks = {index: measured(index) for index in range(64)} | digests
    for device in (GPU, SWITCH):
        signed = device.sign(unsigned(NONCE, blocks, {**fields, 20: device.fwid}))
        said = accepted(device, signed, [device.chain])
        assert said is None or said.slot == NONCE


@pytest.mark.parametrize(("device", "report"), [(GPU, GPU_REPORT), (SWITCH, SWITCH_REPORT)], ids=["gpu", "switch"])
def test_no_byte_of_a_report_is_free(device: FakeDevice, report: bytes) -> None:
    """Every byte of request, response and signature is signed or is the signature: one altered bit is refused."""
    collateral = [device.chain]
    assert accepted(device, report, collateral) is not None
    free = [at for at in range(len(report)) if accepted(device, flipped(report, at), collateral) is not None]
    assert free == []


@pytest.mark.parametrize("place", range(5), ids=["leaf", "brom", "ica", "identity", "root"])
def test_no_byte_of_a_chain_is_free(place: int) -> None:
    """Every byte of every certificate's DER is signed, is a signature, or is pinned."""
    ders = [level.der for level in GPU.levels]
    verifier = NVIDIA.verifier()
    free = []
    for at in range(len(ders[place])):
        altered = [*ders[:place], flipped(ders[place], at), *ders[place + 1 :]]
        chain = Collateral(kind="nvidia-chain", data=b"".join(map(pem, altered)))
        try:
            verifier.verify(GPU.evidence(GPU_REPORT), [chain], now=NOW)
            free.append(at)
        except AttestationError:
            pass
    assert free == []


def test_no_altered_answer_is_good() -> None:
    """An altered OCSP answer is refused or, where it then names another certificate, counts as absent."""
    first, *rest = NVIDIA.statements(GPU)
    assert standing(first, *rest) == "good"
    found = {
        standing(Collateral(kind=first.kind, data=flipped(first.data, at)), *rest) for at in range(len(first.data))
    }
    assert found == {"refused", "absent"}


def test_a_report_is_bound_to_one_verifier_kind() -> None:
    """A switch's report under a GPU's name, and the reverse, are refused whatever the chain."""
    for report, kind, form in (
        (SWITCH_REPORT, TEEKind.NVIDIA_GPU, "nvidia-spdm-1.1"),
        (GPU_REPORT, TEEKind.NVIDIA_SWITCH, "nvidia-switch-spdm-1.1"),
    ):
        verifier = GPU_VERIFIER if kind is TEEKind.NVIDIA_GPU else SWITCH_VERIFIER
        with pytest.raises(AttestationError):
            verifier.verify(Evidence(kind=kind, format=form, data=report), [GPU.chain, SWITCH.chain], now=NOW)


def flipped(data: bytes, at: int) -> bytes:
    """`data` with one bit of the byte `at` altered, another bit from byte to byte."""
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def pem(der: bytes) -> bytes:
    """A certificate's DER as PEM."""
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def standing(*collateral: Collateral) -> str:
    """The fact `ocsp` of the plain report with this collateral, or "refused"."""
    said = accepted(GPU, GPU_REPORT, [GPU.chain, *collateral])
    return str(said.facts["ocsp"]) if said else "refused"
