# SPDX-License-Identifier: Apache-2.0
"""Platform configuration registers: the values beside a quote, held against the digest inside it (part 1, 17.6)."""

from collections.abc import Mapping

from attestation.claims import Measurement
from attestation.codec.labels import equal
from attestation.errors import NotGenuine, Reason
from attestation.tee.tpm.algorithms import digest
from attestation.tee.tpm.attest import TPMQuote


def check_pcrs(quote: TPMQuote, values: Mapping[int, bytes], algorithm: str) -> None:
    """Checks that `values` are exactly the registers quoted; `algorithm` is the hash of the quote's signature.

    Raises:
        NotGenuine: SIGNATURE_INVALID for values the TPM did not sign.
    """
    if tuple(sorted(values)) != quote.pcrs:
        raise _unsigned(f"of registers {sorted(values)}", f"of those selected, {list(quote.pcrs)}")
    signed = digest(algorithm, b"".join(values[index] for index in quote.pcrs))
    if not equal(signed, quote.pcr_digest):
        raise _unsigned(f"hashed to {signed.hex()}", quote.pcr_digest.hex())


def measurements(quote: TPMQuote, values: Mapping[int, bytes]) -> tuple[Measurement, ...]:
    """The checked values as registers `pcr0` to `pcr23`."""
    return tuple(
        Measurement(register=f"pcr{index}", algorithm=quote.bank, digest=values[index]) for index in quote.pcrs
    )


def _unsigned(got: str, want: str) -> NotGenuine:
    return NotGenuine(Reason.SIGNATURE_INVALID, f"tpm pcr values is {got}, want {want}")
