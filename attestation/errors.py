# SPDX-License-Identifier: Apache-2.0
"""Every error Sealbid raises on purpose, and the stable reason codes callers may switch on.

    SealbidError                           reason: Reason
    ├─ AttestationError
    │  ├─ MalformedEvidence                bytes do not parse              give up; blame the sender
    │  ├─ NotGenuine                       signature, chain or binding     give up; report
    │  ├─ NotAcceptable(findings)          genuine, against policy         choose another worker
    │  ├─ Stale                            nonce, lease, TCB age           re-attest
    │  └─ CollateralUnavailable            could not decide                retry; never accept meanwhile
    ├─ SealingError
    │  ├─ Malformed                        canonical bytes do not parse    give up; blame the sender
    │  ├─ WrongKey · Truncated · Replayed · Tampered
    ├─ GatewayError                        (raised by the gateway only)
    │  └─ Unauthenticated · Denied · InvalidRequest · NoCapacity · BudgetExceeded · WorkerFailed · DeadlineTooShort
    └─ SettingsError                       a configuration that must not start

Branches are what the caller may do next. Texts are `field is got, want wanted`: lower case, no full stop, and public
values only; never payload, key, token or credential bytes.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol


class Reason(StrEnum):
    """Stable reason codes: sent as `google.rpc.ErrorInfo.reason`, used by vectors and exit codes, never renamed."""

    # parsing
    MALFORMED = "MALFORMED"
    UNSUPPORTED = "UNSUPPORTED"
    # genuine or not
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    BINDING_MISMATCH = "BINDING_MISMATCH"
    KEYSET_MISMATCH = "KEYSET_MISMATCH"
    NONCE_MISMATCH = "NONCE_MISMATCH"
    AUDIENCE_MISMATCH = "AUDIENCE_MISMATCH"
    PROVIDER_MISMATCH = "PROVIDER_MISMATCH"
    DEVICES_MISMATCH = "DEVICES_MISMATCH"
    PROOF_INVALID = "PROOF_INVALID"
    CHECKPOINT_INVALID = "CHECKPOINT_INVALID"
    LEASE_INVALID = "LEASE_INVALID"
    HEARTBEAT_INVALID = "HEARTBEAT_INVALID"
    RECEIPT_INVALID = "RECEIPT_INVALID"
    SIGNATURE_MISSING = "SIGNATURE_MISSING"
    OFFER_INVALID = "OFFER_INVALID"
    CHAIN_INVALID = "CHAIN_INVALID"
    ROOT_REFUSED = "ROOT_REFUSED"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    TCB_MISMATCH = "TCB_MISMATCH"
    CHIP_MISMATCH = "CHIP_MISMATCH"
    EVENT_LOG_MISMATCH = "EVENT_LOG_MISMATCH"
    RIM_INVALID = "RIM_INVALID"
    ACTIVATION_INVALID = "ACTIVATION_INVALID"
    # acceptable or not
    POLICY_REFUSED = "POLICY_REFUSED"
    POLICY_INVALID = "POLICY_INVALID"
    POLICY_MISMATCH = "POLICY_MISMATCH"
    SIMULATED_REFUSED = "SIMULATED_REFUSED"
    MEASUREMENT_REFUSED = "MEASUREMENT_REFUSED"
    DEBUG_REFUSED = "DEBUG_REFUSED"
    TCB_REFUSED = "TCB_REFUSED"
    TCB_UNKNOWN = "TCB_UNKNOWN"
    PRODUCT_REFUSED = "PRODUCT_REFUSED"
    ATTRIBUTE_REFUSED = "ATTRIBUTE_REFUSED"
    FIRMWARE_REFUSED = "FIRMWARE_REFUSED"
    MODE_REFUSED = "MODE_REFUSED"
    RIM_MISMATCH = "RIM_MISMATCH"
    RIM_EXPIRED = "RIM_EXPIRED"
    TOPOLOGY_REFUSED = "TOPOLOGY_REFUSED"
    ACTIVATION_MISSING = "ACTIVATION_MISSING"
    ENGINE_REFUSED = "ENGINE_REFUSED"
    CONFIG_REFUSED = "CONFIG_REFUSED"
    PLATFORM_REFUSED = "PLATFORM_REFUSED"
    HARDWARE_CLAIMED = "HARDWARE_CLAIMED"
    # time
    NONCE_STALE = "NONCE_STALE"
    EVIDENCE_STALE = "EVIDENCE_STALE"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    REVOKED = "REVOKED"
    REVOCATION_STALE = "REVOCATION_STALE"
    CHECKPOINT_STALE = "CHECKPOINT_STALE"
    COLLATERAL_UNAVAILABLE = "COLLATERAL_UNAVAILABLE"
    COLLATERAL_EXPIRED = "COLLATERAL_EXPIRED"
    ENDORSEMENT_MISSING = "ENDORSEMENT_MISSING"
    RIM_UNAVAILABLE = "RIM_UNAVAILABLE"
    # sealing
    WRONG_KEY = "WRONG_KEY"
    TRUNCATED = "TRUNCATED"
    REPLAYED = "REPLAYED"
    TAMPERED = "TAMPERED"
    UNKNOWN_SESSION = "UNKNOWN_SESSION"
    SESSION_CLOSED = "SESSION_CLOSED"
    SESSION_TABLE_FULL = "SESSION_TABLE_FULL"
    KEY_RETIRED = "KEY_RETIRED"
    DUPLICATE_REQUEST = "DUPLICATE_REQUEST"
    DISPATCH_REFUSED = "DISPATCH_REFUSED"
    NOT_GRANTED = "NOT_GRANTED"
    FRAME_TOO_LARGE = "FRAME_TOO_LARGE"
    STREAM_DIVERGED = "STREAM_DIVERGED"
    # log
    LOG_ROLLBACK = "LOG_ROLLBACK"
    LOG_FORK = "LOG_FORK"
    LOG_FROZEN = "LOG_FROZEN"
    ENTRY_INVALID = "ENTRY_INVALID"
    # request at the gateway
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RATE_LIMITED = "RATE_LIMITED"
    CONCURRENCY_LIMITED = "CONCURRENCY_LIMITED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    MODEL_UNKNOWN = "MODEL_UNKNOWN"
    TENSOR_MISSING = "TENSOR_MISSING"
    TENSOR_UNKNOWN = "TENSOR_UNKNOWN"
    TENSOR_SHAPE = "TENSOR_SHAPE"
    TENSOR_DATATYPE = "TENSOR_DATATYPE"
    TENSOR_SIZE = "TENSOR_SIZE"
    PARAMETER_INVALID = "PARAMETER_INVALID"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    RESPONSE_TOO_LARGE = "RESPONSE_TOO_LARGE"
    NO_ELIGIBLE_OFFER = "NO_ELIGIBLE_OFFER"
    DEADLINE_TOO_SHORT = "DEADLINE_TOO_SHORT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    WORKER_FAILED = "WORKER_FAILED"
    WORKER_OVERLOADED = "WORKER_OVERLOADED"
    ENGINE_FAILED = "ENGINE_FAILED"
    DRAINING = "DRAINING"
    NOT_FOUND = "NOT_FOUND"
    # operation
    SETTINGS_INVALID = "SETTINGS_INVALID"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    PEER_UNAVAILABLE = "PEER_UNAVAILABLE"
    INTERNAL = "INTERNAL"


class SealbidError(Exception):
    """The root: a stable reason and a text fit for any screen or log line."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def message(self) -> str:
        """The text, without the reason code."""
        return str(self.args[0])


UNDECIDED: Final = frozenset(
    {
        Reason.COLLATERAL_UNAVAILABLE,
        Reason.COLLATERAL_EXPIRED,
        Reason.ENDORSEMENT_MISSING,
        Reason.RIM_UNAVAILABLE,
        Reason.SIGNATURE_MISSING,
    }
)
"""Reasons that say "could not decide": whoever brings what was missing may get another answer."""


class FindingLike(Protocol):
    """What an error needs of an appraisal finding; the value itself is `attestation.appraisal.Finding`."""

    @property
    def reason(self) -> Reason: ...


class AttestationError(SealbidError):
    """Evidence, lease or log proof did not lead to an attested key."""


class MalformedEvidence(AttestationError):
    """Bytes do not parse. The caller may only give up and blame the sender."""


class NotGenuine(AttestationError):
    """A signature, chain, hash or binding does not hold. The caller may give up and report."""


class NotAcceptable(AttestationError):
    """Genuine, but against the caller's policy; carries every finding. The caller may choose another worker."""

    def __init__(self, reason: Reason, message: str, findings: Sequence[FindingLike] = ()) -> None:
        super().__init__(reason, message)
        self.findings = tuple(findings)


class Stale(AttestationError):
    """Was good once: a nonce, lease, heartbeat or checkpoint is too old. The caller may re-attest."""


class CollateralUnavailable(AttestationError):
    """Could not decide, for one of the reasons in `UNDECIDED`. The caller may retry, and must not accept meanwhile."""

    def __init__(self, reason: Reason, message: str, findings: Sequence[FindingLike] = ()) -> None:
        super().__init__(reason, message)
        self.findings = tuple(findings)


class SealingError(SealbidError):
    """A sealed message was refused; nothing of it was released."""


class Malformed(SealingError):
    """Canonical bytes (CBOR, COSE, frame, header) do not parse."""

    def __init__(self, message: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(reason, message)


class WrongKey(SealingError):
    """Sealed to another key, session or worker than this one."""


class Truncated(SealingError):
    """The stream ended before its final frame."""


class Replayed(SealingError):
    """A counter, request id or session was seen before."""


class Tampered(SealingError):
    """An authenticated byte was altered, reordered, dropped or spliced."""


class SettingsError(SealbidError):
    """A configuration that must not start: unknown key, missing value, unsafe combination."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SETTINGS_INVALID, message)
