# SPDX-License-Identifier: Apache-2.0
"""The one table from reasons to gRPC statuses, and how an error travels (docs/spec.md, 14; AIP-193).

A refusal is sent as `google.rpc.Status` with one `ErrorInfo` {reason, domain "sealbid", metadata} in the trailing
metadata `grpc-status-details-bin`, so callers switch on the reason. The metadata holds field, got and want of the first
finding where there is one. Texts are the errors' own: public values only.
"""

from collections.abc import Mapping
from typing import Final, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from attestation.errors import (
    UNDECIDED,
    AttestationError,
    CollateralUnavailable,
    Malformed,
    MalformedEvidence,
    NotAcceptable,
    NotGenuine,
    Reason,
    SealbidError,
    SettingsError,
    Stale,
)

DOMAIN: Final = "sealbid"
DETAILS_KEY: Final = "grpc-status-details-bin"
MAX_MESSAGE: Final = 2048
MAX_METADATA_VALUE: Final = 256

_INVALID, _STATE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
_DENIED, _EXHAUSTED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED
_UNAVAILABLE, _LOSS, _ABORTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.ABORTED

STATUS: Final[Mapping[Reason, grpc.StatusCode]] = {
    Reason.MALFORMED: _INVALID,
    Reason.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.SIGNATURE_INVALID: _DENIED,
    Reason.BINDING_MISMATCH: _DENIED,
    Reason.KEYSET_MISMATCH: _DENIED,
    Reason.NONCE_MISMATCH: _DENIED,
    Reason.AUDIENCE_MISMATCH: _DENIED,
    Reason.PROVIDER_MISMATCH: _DENIED,
    Reason.DEVICES_MISMATCH: _DENIED,
    Reason.PROOF_INVALID: _DENIED,
    Reason.CHECKPOINT_INVALID: _DENIED,
    Reason.LEASE_INVALID: _DENIED,
    Reason.HEARTBEAT_INVALID: _DENIED,
    Reason.RECEIPT_INVALID: _DENIED,
    Reason.SIGNATURE_MISSING: _UNAVAILABLE,
    Reason.OFFER_INVALID: _DENIED,
    Reason.CHAIN_INVALID: _DENIED,
    Reason.ROOT_REFUSED: _DENIED,
    Reason.CERTIFICATE_EXPIRED: _DENIED,
    Reason.CERTIFICATE_REVOKED: _DENIED,
    Reason.TCB_MISMATCH: _DENIED,
    Reason.CHIP_MISMATCH: _DENIED,
    Reason.EVENT_LOG_MISMATCH: _DENIED,
    Reason.RIM_INVALID: _DENIED,
    Reason.ACTIVATION_INVALID: _DENIED,
    Reason.POLICY_REFUSED: _STATE,
    Reason.POLICY_INVALID: _STATE,
    Reason.POLICY_MISMATCH: _STATE,
    Reason.SIMULATED_REFUSED: _STATE,
    Reason.MEASUREMENT_REFUSED: _STATE,
    Reason.DEBUG_REFUSED: _STATE,
    Reason.TCB_REFUSED: _STATE,
    Reason.TCB_UNKNOWN: _STATE,
    Reason.PRODUCT_REFUSED: _STATE,
    Reason.ATTRIBUTE_REFUSED: _STATE,
    Reason.FIRMWARE_REFUSED: _STATE,
    Reason.MODE_REFUSED: _STATE,
    Reason.RIM_MISMATCH: _STATE,
    Reason.RIM_EXPIRED: _STATE,
    Reason.TOPOLOGY_REFUSED: _STATE,
    Reason.ACTIVATION_MISSING: _STATE,
    Reason.ENGINE_REFUSED: _STATE,
    Reason.CONFIG_REFUSED: _STATE,
    Reason.PLATFORM_REFUSED: _STATE,
    Reason.HARDWARE_CLAIMED: grpc.StatusCode.ALREADY_EXISTS,
    Reason.NONCE_STALE: _STATE,
    Reason.EVIDENCE_STALE: _STATE,
    Reason.LEASE_EXPIRED: _STATE,
    Reason.REVOKED: _STATE,
    Reason.REVOCATION_STALE: _UNAVAILABLE,
    Reason.CHECKPOINT_STALE: _UNAVAILABLE,
    Reason.COLLATERAL_UNAVAILABLE: _UNAVAILABLE,
    Reason.COLLATERAL_EXPIRED: _UNAVAILABLE,
    Reason.ENDORSEMENT_MISSING: _UNAVAILABLE,
    Reason.RIM_UNAVAILABLE: _UNAVAILABLE,
    Reason.WRONG_KEY: _STATE,
    Reason.TRUNCATED: _LOSS,
    Reason.REPLAYED: _ABORTED,
    Reason.TAMPERED: _LOSS,
    Reason.UNKNOWN_SESSION: _STATE,
    Reason.SESSION_CLOSED: _STATE,
    Reason.SESSION_TABLE_FULL: _EXHAUSTED,
    Reason.KEY_RETIRED: _STATE,
    Reason.DUPLICATE_REQUEST: grpc.StatusCode.ALREADY_EXISTS,
    Reason.DISPATCH_REFUSED: _STATE,
    Reason.NOT_GRANTED: _DENIED,
    Reason.FRAME_TOO_LARGE: _INVALID,
    Reason.STREAM_DIVERGED: _ABORTED,
    Reason.LOG_ROLLBACK: _LOSS,
    Reason.LOG_FORK: _LOSS,
    Reason.LOG_FROZEN: _STATE,
    Reason.ENTRY_INVALID: _INVALID,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: _DENIED,
    Reason.RATE_LIMITED: _EXHAUSTED,
    Reason.CONCURRENCY_LIMITED: _EXHAUSTED,
    Reason.BUDGET_EXCEEDED: _STATE,
    Reason.MODEL_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.TENSOR_MISSING: _INVALID,
    Reason.TENSOR_UNKNOWN: _INVALID,
    Reason.TENSOR_SHAPE: _INVALID,
    Reason.TENSOR_DATATYPE: _INVALID,
    Reason.TENSOR_SIZE: _INVALID,
    Reason.PARAMETER_INVALID: _INVALID,
    Reason.REQUEST_TOO_LARGE: _INVALID,
    Reason.RESPONSE_TOO_LARGE: _EXHAUSTED,
    Reason.NO_ELIGIBLE_OFFER: _STATE,
    Reason.DEADLINE_TOO_SHORT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.WORKER_FAILED: _UNAVAILABLE,
    Reason.WORKER_OVERLOADED: _EXHAUSTED,
    Reason.ENGINE_FAILED: grpc.StatusCode.INTERNAL,
    Reason.DRAINING: _UNAVAILABLE,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SETTINGS_INVALID: _STATE,
    Reason.STORE_UNAVAILABLE: _UNAVAILABLE,
    Reason.PEER_UNAVAILABLE: _UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}
"""Every reason has a line here; a test holds the table to that."""

_BRANCHES: Final[Mapping[type[AttestationError], frozenset[Reason]]] = {
    MalformedEvidence: frozenset({Reason.UNSUPPORTED, Reason.ENTRY_INVALID, Reason.POLICY_INVALID}),
    Stale: frozenset(
        {
            Reason.NONCE_STALE,
            Reason.EVIDENCE_STALE,
            Reason.LEASE_EXPIRED,
            Reason.REVOKED,
            Reason.REVOCATION_STALE,
            Reason.CHECKPOINT_STALE,
        }
    ),
    CollateralUnavailable: UNDECIDED,
    NotAcceptable: frozenset(
        {
            Reason.POLICY_REFUSED,
            Reason.POLICY_MISMATCH,
            Reason.SIMULATED_REFUSED,
            Reason.MEASUREMENT_REFUSED,
            Reason.DEBUG_REFUSED,
            Reason.TCB_REFUSED,
            Reason.TCB_UNKNOWN,
            Reason.PRODUCT_REFUSED,
            Reason.ATTRIBUTE_REFUSED,
            Reason.FIRMWARE_REFUSED,
            Reason.MODE_REFUSED,
            Reason.RIM_MISMATCH,
            Reason.RIM_EXPIRED,
            Reason.TOPOLOGY_REFUSED,
            Reason.ACTIVATION_MISSING,
            Reason.ENGINE_REFUSED,
            Reason.CONFIG_REFUSED,
            Reason.PLATFORM_REFUSED,
            Reason.HARDWARE_CLAIMED,
        }
    ),
    NotGenuine: frozenset(
        {
            Reason.SIGNATURE_INVALID,
            Reason.CHAIN_INVALID,
            Reason.ROOT_REFUSED,
            Reason.CERTIFICATE_EXPIRED,
            Reason.CERTIFICATE_REVOKED,
            Reason.TCB_MISMATCH,
            Reason.CHIP_MISMATCH,
            Reason.EVENT_LOG_MISMATCH,
            Reason.RIM_INVALID,
            Reason.ACTIVATION_INVALID,
            Reason.BINDING_MISMATCH,
            Reason.KEYSET_MISMATCH,
            Reason.NONCE_MISMATCH,
            Reason.AUDIENCE_MISMATCH,
            Reason.PROVIDER_MISMATCH,
            Reason.DEVICES_MISMATCH,
            Reason.PROOF_INVALID,
            Reason.CHECKPOINT_INVALID,
            Reason.LEASE_INVALID,
            Reason.HEARTBEAT_INVALID,
        }
    ),
}

_TRANSPORT: Final[Mapping[grpc.StatusCode, Reason]] = {
    grpc.StatusCode.UNAVAILABLE: Reason.PEER_UNAVAILABLE,
    grpc.StatusCode.CANCELLED: Reason.PEER_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED: Reason.UNSUPPORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.REQUEST_TOO_LARGE,
    grpc.StatusCode.UNAUTHENTICATED: Reason.UNAUTHENTICATED,
}


class Aborting(Protocol):
    """The part of a `grpc.aio` servicer context that ends a call."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[tuple[str, bytes], ...] = ()
    ) -> NoReturn:
        """Raises to end the call."""


class RPCError(Protocol):
    """The part of `grpc.RpcError` that clients get on every transport."""

    def code(self) -> grpc.StatusCode: ...
    def trailing_metadata(self) -> object: ...


def status_proto(error: SealbidError) -> status_pb2.Status:
    """The `google.rpc.Status` that carries `error`."""
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=_metadata(error))
    status = status_pb2.Status(code=STATUS[error.reason].value[0], message=error.message[:MAX_MESSAGE])
    status.details.add().Pack(info)
    return status


def trailing_metadata(error: SealbidError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries `error`."""
    return ((DETAILS_KEY, status_proto(error).SerializeToString()),)


async def abort(context: Aborting, error: SealbidError) -> NoReturn:
    """Ends an aio call with `error`; nothing after it runs."""
    await context.abort(STATUS[error.reason], error.message[:MAX_MESSAGE], trailing_metadata(error))


def from_rpc_error(error: RPCError) -> SealbidError:
    """The error the peer sent, in the branch of the tree that its reason belongs to.

    A failure that never reached a Sealbid peer becomes PEER_UNAVAILABLE or what its status means. The peer's text is
    kept, shortened; it is the peer's word, so nothing here decides by it.
    """
    sent = _sent(error)
    if sent is None:
        code = error.code()
        return SealbidError(_TRANSPORT.get(code, Reason.INTERNAL), f"call ended with {code.name}, want an answer")
    status, info = sent
    reason = Reason(info.reason) if info.reason in set(Reason) else Reason.INTERNAL
    return error_of(reason, status.message[:MAX_MESSAGE])


def error_of(reason: Reason, message: str) -> SealbidError:
    """An error of the branch that `reason` belongs to."""
    if reason is Reason.MALFORMED:
        return Malformed(message)
    if reason is Reason.SETTINGS_INVALID:
        return SettingsError(message)
    for branch, reasons in _BRANCHES.items():
        if reason in reasons:
            return branch(reason, message)
    return SealbidError(reason, message)


def _sent(error: RPCError) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo] | None:
    for key, value in _pairs(error.trailing_metadata()):
        if key != DETAILS_KEY or not isinstance(value, bytes):
            continue
        status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
        try:
            status.ParseFromString(value)
            for detail in status.details:
                if detail.Unpack(info) and info.domain == DOMAIN:
                    return status, info
        except DecodeError:
            return None
    return None


def _pairs(metadata: object) -> list[tuple[str, object]]:
    # grpc gives its own Metadata, a tuple of pairs, or None, depending on transport and moment.
    items = metadata if hasattr(metadata, "__iter__") else ()
    return [(str(key), value) for key, value in items]


def _metadata(error: SealbidError) -> dict[str, str]:
    detail = getattr(error, "detail", None)
    if isinstance(detail, Mapping) and detail:
        return {str(name): str(value)[:MAX_METADATA_VALUE] for name, value in detail.items()}
    findings = getattr(error, "findings", ())
    source = findings[0] if findings else error
    names = ("field", "got", "want")
    pairs = {name: getattr(source, name, None) for name in names}
    return {name: value[:MAX_METADATA_VALUE] for name, value in pairs.items() if isinstance(value, str)}
