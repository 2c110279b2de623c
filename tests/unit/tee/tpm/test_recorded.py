# SPDX-License-Identifier: Apache-2.0
"""Quotes recorded elsewhere: one of an Azure vTPM with its key and registers, one bare statement."""

from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from attestation.bundle import Collateral
from attestation.errors import NotGenuine, Reason
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import LOG_KIND, read_tcg2
from attestation.tee.tpm.attest import read_quote
from attestation.tee.tpm.event_log import event_log
from attestation.tee.tpm.pcrs import check_pcrs, measurements
from attestation.tee.tpm.signature import TPMSignature, check_signature
from tests.support.vectors import vectors


@dataclass(frozen=True)
class Recorded:
    """A recorded quote with what lies beside it."""

    attest: bytes
    signature: TPMSignature
    key: rsa.RSAPublicKey
    pcrs: dict[int, bytes]


@pytest.fixture
def azure() -> Recorded:
    """The quote, as u64 length, signature, u64 length, statement, u64 count, values, and its key."""
    data = vectors("azure-hcl", "kinvolk--quote.bin").read_bytes()
    size = int.from_bytes(data[:8], "little")
    signature, data = data[8 : 8 + size], data[8 + size :]
    size = int.from_bytes(data[:8], "little")
    attest, data = data[8 : 8 + size], data[8 + size :]
    count = int.from_bytes(data[:8], "little")
    pcrs = {index: data[8 + 32 * index : 40 + 32 * index] for index in range(count)}
    key = load_pem_public_key(vectors("azure-hcl", "kinvolk--akpub.pem").read_bytes())
    assert isinstance(key, rsa.RSAPublicKey)
    return Recorded(
        attest=attest,
        signature=TPMSignature(scheme="rsassa", algorithm="sha256", data=signature),
        key=key,
        pcrs=pcrs,
    )


def test_a_recorded_azure_quote_is_its_keys_over_its_registers(azure: Recorded) -> None:
    """Signature, PCR digest and challenge of a real vTPM's quote hold."""
    quote = read_quote(azure.attest)
    check_signature(azure.signature, azure.key, azure.attest, "quote")
    check_pcrs(quote, azure.pcrs, "sha256")
    assert (quote.extra_data, quote.safe, quote.reset_count) == (b"challenge", True, 3)
    assert quote.firmware_version == 0x2020031200120003
    assert [item.register for item in measurements(quote, azure.pcrs)] == [f"pcr{index}" for index in range(24)]


def test_another_register_value_is_not_what_was_signed(azure: Recorded) -> None:
    """One changed, one missing and one surplus register are each refused."""
    quote = read_quote(azure.attest)
    for changed in (
        {**azure.pcrs, 7: bytes(32)},
        {index: value for index, value in azure.pcrs.items() if index != 23},
    ):
        with pytest.raises(NotGenuine) as caught:
            check_pcrs(quote, changed, "sha256")
        assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_no_byte_of_a_recorded_quote_may_change(azure: Recorded) -> None:
    """Flipping any byte of the statement or of the signature breaks the signature."""
    for place in range(len(azure.attest)):
        flipped = bytearray(azure.attest)
        flipped[place] ^= 1
        with pytest.raises(NotGenuine):
            check_signature(azure.signature, azure.key, bytes(flipped), "quote")
    for place in range(len(azure.signature.data)):
        signature = bytearray(azure.signature.data)
        signature[place] ^= 1
        changed = TPMSignature(scheme="rsassa", algorithm="sha256", data=bytes(signature))
        with pytest.raises(NotGenuine):
            check_signature(changed, azure.key, azure.attest, "quote")


def test_a_bare_recorded_statement_is_read() -> None:
    """A quote of PCRs 0 to 2 with a challenge of four bytes."""
    quote = read_quote(vectors("tpm", "dstack--tpm_quote_sample.bin").read_bytes())
    assert (quote.extra_data, quote.bank, quote.pcrs) == (b"\x12\x34\x56\x78", "sha256", (0, 1, 2))
    assert (quote.reset_count, quote.restart_count, quote.safe) == (16, 0, True)


def test_a_recorded_event_log_replays_to_the_digest_quoted() -> None:
    """The firmware's log beside the bare statement gives PCRs 0 to 2, which hash to what was quoted."""
    quote = read_quote(vectors("tpm", "dstack--tpm_quote_sample.bin").read_bytes())
    log = vectors("tpm", "dstack--tpm_eventlog.bin").read_bytes()
    values = replay(read_tcg2(log), "sha256", quote.pcrs)
    check_pcrs(quote, values, "sha256")
    collateral = [Collateral(kind=LOG_KIND, data=log)]
    assert event_log(quote, values, collateral) == "replayed"
    assert event_log(quote, values, ()) == "absent"
    with pytest.raises(NotGenuine) as caught:
        event_log(quote, {**values, 2: bytes(32)}, collateral)
    assert caught.value.reason is Reason.EVENT_LOG_MISMATCH
