# SPDX-License-Identifier: Apache-2.0
"""What TPM 2.0 quotes state (TCG TPM 2.0 Library, parts 1 and 2)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary


def _count(what: str) -> Fact:
    return Fact(
        type=int,
        meaning=f"how often the TPM was {what}; a number that falls means another TPM or a cleared one",
        remedy="attest with the TPM the policy speaks of",
        reason=Reason.ATTRIBUTE_REFUSED,
    )


def _device(what: str, reason: Reason) -> Fact:
    return Fact(
        type=str,
        meaning=f"the TPM's {what} as its EK certificate spells it, such as id:494e5443",
        remedy="use a TPM whose maker and model the policy lists",
        reason=reason,
    )


_ENDORSED: Final = {
    "ek_root": Fact(
        type=str,
        meaning="SHA-256 of the self-signed certificate the endorsement key's chain ends in, 64 hex digits",
        remedy="use a TPM whose manufacturer the policy lists",
        reason=Reason.ROOT_REFUSED,
    ),
    "ek_key": Fact(
        type=str,
        meaning='kind of the endorsement key: "rsa-2048", "ecc-p256", "ecc-p384"; a TPM has one identity of each kind',
        remedy="attest with the endorsement key of the kind the policy lists, so that one TPM is one machine",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "ek_manufacturer": _device("manufacturer", Reason.PRODUCT_REFUSED),
    "ek_model": _device("model", Reason.PRODUCT_REFUSED),
    "ek_version": _device("firmware version when it was made", Reason.FIRMWARE_REFUSED),
    "ek_crl": Fact(
        type=str,
        meaning='"checked" when current lists of every issuer say the chain is not revoked, or "absent"',
        remedy="send the revocation lists of the EK's issuers as x509-crl with the evidence",
        reason=Reason.COLLATERAL_UNAVAILABLE,
    ),
}

_QUOTED: Final = {
    "ak_key": Fact(
        type=str,
        meaning='the attestation key and its signatures, such as "ecc-p256 ecdsa sha256"',
        remedy="make the attestation key with an algorithm the policy lists",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "ak_hierarchy": Fact(
        type=str,
        meaning='the hierarchy the attestation key is of: "endorsement", "owner", "platform" or "null"; under owner and'
        " null the TPM blurs counters and firmware version",
        remedy="make the attestation key in the endorsement hierarchy",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "activation": Fact(
        type=str,
        meaning='"stated" when the evidence answers a credential sealed to the endorsement key, which only the registry'
        ' that sealed it can check, or "absent"',
        remedy="register with a worker that activates the registry's credential",
        reason=Reason.ACTIVATION_MISSING,
    ),
    "clock_safe": Fact(
        type=bool,
        meaning="the TPM's clock has not gone back: its last shutdown was orderly, or long enough ago",
        remedy="let the TPM run for an hour after a power failure, then attest again",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "reset_count": _count("reset"),
    "restart_count": _count("resumed or restarted since its last reset"),
    "firmware_version": Fact(
        type=int,
        meaning="the TPM's firmware version as 64 bits, the maker's to read (in TOML 0x2020031200120003 for example)",
        remedy="update the TPM's firmware",
        reason=Reason.FIRMWARE_REFUSED,
    ),
    "event_log": Fact(
        type=str,
        meaning='"replayed" when an event log in the bundle gives the quoted PCRs 0 to 7, "absent" without one',
        remedy="send the firmware's event log with the evidence",
        reason=Reason.EVENT_LOG_MISMATCH,
    ),
}

TPM: Final = Vocabulary(
    registers=tuple(f"pcr{index}" for index in range(24)),
    facts={**_ENDORSED, **_QUOTED},
    unproven=(
        "a TPM measures what was started; it does not encrypt memory, so the machine's owner can read what it holds",
        "whether the attestation key lives in the TPM of the EK certificate was decided by the registry alone",
        "a discrete TPM's bus can be tapped and reset, so that measurements are those of another start",
    ),
)
