# SPDX-License-Identifier: Apache-2.0
"""Raw evidence by its digest, for accounts only: it holds identities of machines (docs/spec.md, 10.7; ruling 33).

Who asks is named in the log, under a signed checkpoint, before the bytes leave. Bytes of another digest are the same
answer as none. Providers are not among the readers: evidence of others would tell them whose machines those are.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Final, Protocol

from attestation.http.message import Request, Response
from attestation.rpc.auth import HEADER, APIKeys, Role
from attestation.server.http_log import BYTES

READERS: Final = (Role.CALLER, Role.GATEWAY, Role.OPERATOR, Role.AUDITOR)
DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Recorder(Protocol):
    """Writes who reads what is not public into the log."""

    def __call__(self, *, by: str, action: str, target: str) -> None:
        """Returns once the entry is under a signed checkpoint. Raises `SealbidError`; then nothing may be read."""
        ...


class EvidenceArchive:
    """What was archived with the verdicts, for whoever holds a key of this registry."""

    def __init__(self, *, accounts: APIKeys, archived: Callable[[bytes], bytes | None], record: Recorder) -> None:
        self._accounts = accounts
        self._archived = archived
        self._record = record

    def answer(self, digest: str, request: Request) -> Response | None:
        """The bytes with this SHA-256 (64 hex digits), or None if there are none.

        Raises:
            SealbidError: UNAUTHENTICATED or PERMISSION_DENIED, RATE_LIMITED, or the log cannot name the reader.
        """
        caller = self._accounts.authenticate(request.headers.items())
        caller.require(READERS)
        data = self._archived(bytes.fromhex(digest))
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            return None
        self._record(by=caller.name, action="read", target=f"evidence/{digest}")
        return Response(status=200, body=data, headers={**BYTES, "cache-control": "private, no-store", "vary": HEADER})
