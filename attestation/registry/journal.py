# SPDX-License-Identifier: Apache-2.0
"""The registry's hand on the evidence log: an entry counts only once it is under a published checkpoint (ruling 14)."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attestation.appraisal.policy import AppraisalPolicy
from attestation.registry.store import RegistryStore
from attestation.tlog import entry as entries
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.entry import Entry
from attestation.tlog.evidence_log import EvidenceLog
from attestation.tlog.note import parse_note

ACCOUNTS_ACTION: Final = "accounts.load"
MAX_POLICY_TEXT: Final = 14_000


class Journal:
    """Writes what the registry did. Safe to call from any thread; blocks on disk."""

    def __init__(self, *, log: EvidenceLog, store: RegistryStore) -> None:
        self._log = log
        self._store = store
        self._revoking = threading.Lock()

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._log.origin

    def checkpoint(self) -> bytes:
        """The newest published checkpoint note."""
        return self._log.checkpoint()

    def head(self) -> Checkpoint:
        """What the newest published checkpoint says."""
        return Checkpoint.parse(parse_note(self._log.checkpoint())[0])

    def proof(self, index: int) -> bytes:
        """The tlog-proof of an entry under the newest published checkpoint."""
        return self._log.proof(index)

    def write(self, new: Sequence[Entry], now: datetime) -> int:
        """The index of the first of these entries, all of which a published checkpoint covers on return."""
        indices = self._log.append(new)
        self._log.publish(now)
        return indices.start

    def write_revocations(self, *, simulated: bool, now: datetime) -> None:
        """Logs the revocations that are in force but not yet in the log, also those a crash left behind."""
        with self._revoking:
            pending = self._store.unlogged()
            if not pending:
                return
            new = [
                entries.attest_revoke(
                    keyset_id=revocation.keyset_id,
                    worker_id=revocation.worker_id,
                    reason=revocation.reason,
                    by=revocation.by,
                    simulated=simulated,
                    at=now,
                )
                for revocation in pending
            ]
            first = self.write(new, now)
            for place, revocation in enumerate(pending):
                self._store.mark_logged(revocation.keyset_id, first + place)

    def write_changes(self, policy: AppraisalPolicy, *, accounts_sha256: bytes, by: str, now: datetime) -> None:
        """Logs the policy and the accounts in force, if they are others than the log says, and signs what is there."""
        changed = []
        if self._newest(policy.id, "sha256") != policy.sha256.hex():
            changed.append(_policy(policy, by, now))
        if self._newest(ACCOUNTS_ACTION, "detail") != accounts_sha256.hex():
            detail = accounts_sha256.hex()
            changed.append(entries.admin_change(by=by, action=ACCOUNTS_ACTION, detail=detail, at=now))
        if changed:
            self._log.append(changed)
        self._log.publish(now)

    def _newest(self, subject: str, field: str) -> object:
        found = self._log.about(subject, 1)
        return entries.parse_entry(found[0].data).body.get(field) if found else None


def _policy(policy: AppraisalPolicy, by: str, now: datetime) -> Entry:
    text = policy.data.decode()
    return entries.policy_publish(
        id=policy.id,
        version=policy.version,
        sha256=policy.sha256,
        profile=policy.profile.value,
        text=text if len(text) <= MAX_POLICY_TEXT else None,
        by=by,
        at=now,
    )
