# SPDX-License-Identifier: Apache-2.0
"""Errors travel as google.rpc.Status: reason, domain and public facts, and come back in the same branch."""

import ast
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import attestation.rpc.status as table
from attestation.appraisal.finding import Finding, refusal
from attestation.errors import (
    CollateralUnavailable,
    Malformed,
    NotAcceptable,
    NotGenuine,
    Reason,
    SealbidError,
    SettingsError,
    Stale,
)
from attestation.rpc.status import (
    DETAILS_KEY,
    DOMAIN,
    STATUS,
    error_of,
    from_rpc_error,
    status_proto,
    trailing_metadata,
)


class Sent:
    """A gRPC error as a client gets it."""

    def __init__(self, code: grpc.StatusCode, metadata: object) -> None:
        self._code, self._metadata = code, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def trailing_metadata(self) -> object:
        return self._metadata


def test_every_reason_has_exactly_one_line() -> None:
    """The table covers the enum, no reason is written twice, and none maps to OK or UNKNOWN."""
    assert set(STATUS) == set(Reason)
    assert not {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN} & set(STATUS.values())
    tree = ast.parse(Path(table.__file__).read_text())
    literals = [node for node in ast.walk(tree) if isinstance(node, ast.Dict) and len(node.keys) > 50]
    assert [len(literal.keys) for literal in literals] == [len(Reason)]


@pytest.mark.parametrize("reason", list(Reason))
def test_reason_and_text_survive_the_wire(reason: Reason) -> None:
    """What one side raises is what the other side gets, by reason and text."""
    error = error_of(reason, "field is got, want wanted")
    received = from_rpc_error(Sent(STATUS[reason], trailing_metadata(error)))
    assert (received.reason, received.message, type(received)) == (reason, error.message, type(error))


def test_branches_are_kept() -> None:
    """A client may switch on what it may do next."""
    wanted = {
        Reason.NONCE_STALE: Stale,
        Reason.SIGNATURE_INVALID: NotGenuine,
        Reason.DEBUG_REFUSED: NotAcceptable,
        Reason.COLLATERAL_EXPIRED: CollateralUnavailable,
        Reason.MALFORMED: Malformed,
        Reason.SETTINGS_INVALID: SettingsError,
    }
    for reason, branch in wanted.items():
        assert type(error_of(reason, "x")) is branch


def test_error_info_names_field_got_and_want() -> None:
    """The first finding's facts are in the metadata of the ErrorInfo, under the product's domain."""
    finding = Finding(field="debug", got="true", want="false", remedy="", reason=Reason.DEBUG_REFUSED)
    status, info = status_proto(refusal([finding])), error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == (DOMAIN, "DEBUG_REFUSED")
    assert dict(info.metadata) == {"field": "debug", "got": "true", "want": "false"}


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        (None, grpc.StatusCode.UNAVAILABLE, Reason.PEER_UNAVAILABLE),
        ((), grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (((DETAILS_KEY, b"\xff\xff"),), grpc.StatusCode.ABORTED, Reason.INTERNAL),
        (((DETAILS_KEY, "text"),), grpc.StatusCode.UNAUTHENTICATED, Reason.UNAUTHENTICATED),
        (
            ((DETAILS_KEY, status_pb2.Status(message="hi").SerializeToString()),),
            grpc.StatusCode.UNKNOWN,
            Reason.INTERNAL,
        ),
    ],
)
def test_failures_without_our_details_are_named_by_their_status(
    metadata: object, code: grpc.StatusCode, reason: Reason
) -> None:
    """A dead peer, a proxy's answer and broken details become an error too, without the foreign text."""
    received = from_rpc_error(Sent(code, metadata))
    assert received.reason is reason
    assert "hi" not in received.message


def test_unknown_reasons_of_newer_peers_become_internal() -> None:
    """A reason this version does not know is not guessed at."""
    info = error_details_pb2.ErrorInfo(reason="BRAND_NEW", domain=DOMAIN)
    status = status_pb2.Status(message="something is new, want nothing")
    status.details.add().Pack(info)
    received = from_rpc_error(Sent(grpc.StatusCode.ABORTED, ((DETAILS_KEY, status.SerializeToString()),)))
    assert received.reason is Reason.INTERNAL
    assert type(received) is SealbidError
