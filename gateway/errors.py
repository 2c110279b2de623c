# SPDX-License-Identifier: Apache-2.0
"""What the gateway refuses, and what the caller may do next.

GatewayError
├─ Unauthenticated      present another credential
├─ Denied               ask for the role or the quota
├─ InvalidRequest       mend the request; the field is named
├─ NoCapacity           retry later, or widen the limits the counts name
├─ BudgetExceeded       raise the budget
├─ WorkerFailed         retry; every worker that could be tried failed
└─ DeadlineTooShort     retry with more time
"""

from collections.abc import Mapping

from attestation.errors import Reason, SealbidError


class GatewayError(SealbidError):
    """The root; `detail` becomes the metadata of `google.rpc.ErrorInfo` and holds public values only."""

    def __init__(self, reason: Reason, message: str, detail: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, message)
        self.detail: Mapping[str, str] = dict(detail or {})


class Unauthenticated(GatewayError):
    """No credential, or none this gateway knows."""

    def __init__(self, field: str, got: str, want: str) -> None:
        detail = {"field": field, "got": got, "want": want}
        super().__init__(Reason.UNAUTHENTICATED, f"{field} is {got}, want {want}", detail)


class Denied(GatewayError):
    """The credential is known and not enough: role, rate or concurrency."""


class InvalidRequest(GatewayError):
    """The request itself is at fault; names the field, what it is and what is wanted."""

    def __init__(self, reason: Reason, field: str, got: str, want: str) -> None:
        super().__init__(reason, f"{field} is {got}, want {want}", {"field": field, "got": got, "want": want})


class NoCapacity(GatewayError):
    """No offer is eligible, or the gateway takes no more work; `detail` counts the reasons."""


class BudgetExceeded(GatewayError):
    """The tenant's budget or the request's own limit does not cover the cheapest eligible offer."""


class WorkerFailed(GatewayError):
    """One attempt failed, or all did.

    `before_first_byte` says that the caller has seen nothing of the answer, so another worker may be tried;
    `retry_same` that the same worker would serve once its session is made anew.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        before_first_byte: bool = True,
        retry_same: bool = False,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, detail)
        self.before_first_byte = before_first_byte
        self.retry_same = retry_same


class DeadlineTooShort(GatewayError):
    """Too little of the caller's deadline is left, or it ran out."""
