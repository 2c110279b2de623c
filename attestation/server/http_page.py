# SPDX-License-Identifier: Apache-2.0
"""The audit page by address: reads what a view needs from the log and renders it. Everything here is public.

    /audit                                   the first view: a bit of everything
    /audit/verdicts?node&policy&verdict&since&until&before
    /audit/node/<worker id>                  64 hex digits
    /audit/entry/<index>[.json|.tlog-proof]
    /audit/policies[?old&new]

Refused (400): a filter that is not of its form. Unknown addresses, and entries beyond the checkpoint, are 404.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from attestation.appraisal.policy import read_policy
from attestation.audit.policy_diff import diff
from attestation.errors import Malformed, SealbidError
from attestation.http.message import Request, Response, refusal
from attestation.server.page.entry import entry_view
from attestation.server.page.frame import headers
from attestation.server.page.node import node_view
from attestation.server.page.overview import overview_view
from attestation.server.page.policies import policies_view
from attestation.server.page.queries import LogQueries
from attestation.server.page.values import Cosigner, Filters, Logged, PolicyChange, Status
from attestation.server.page.verdicts import verdicts_view
from attestation.tlog.checkpoint import Checkpoint
from attestation.tlog.note import NoteVerifier, parse_note
from attestation.tlog.policy import witnessed
from attestation.tlog.quorum import WitnessPolicy, shown
from attestation.tlog.served import ServedLog

JSON: Final = {"content-type": "application/json", "cache-control": "public, max-age=31536000, immutable"}
PROOF: Final = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-cache"}
MAX_VIEWS: Final = 2
"""Views made at once. A view costs more than a tile, and neither tiles nor the registry's calls may wait for many."""
WAIT_SECONDS: Final = 2.0
_NODE: Final = re.compile(r"[0-9a-f]{64}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_POLICY: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_ENTRY: Final = re.compile(r"/entry/(?P<index>0|[1-9][0-9]{0,15})(?P<form>\.json|\.tlog-proof)?")


class AuditPage:
    """The page of one log. Safe to call from any thread. Raises `SealbidError` when the log cannot be read."""

    def __init__(
        self,
        *,
        log: ServedLog,
        log_key: NoteVerifier,
        path: str,
        witnesses: WitnessPolicy,
        simulated: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._queries = LogQueries(log)
        self._key = log_key
        self._path = path
        self._witnesses = witnesses
        self._simulated = simulated
        self._clock = clock
        self._turns = threading.BoundedSemaphore(MAX_VIEWS)

    def answer(self, path: str, request: Request) -> Response | None:
        """The view at `path`, which is the address without `/audit`; None if there is none."""
        entry = _ENTRY.fullmatch(path)
        if entry is not None and entry["form"] is not None:
            return self._file(int(entry["index"]), entry["form"])
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            return refusal(503, "the page is busy, want another try soon", {"retry-after": "5"})
        try:
            page = self._view(path, request.query, entry)
        finally:
            self._turns.release()
        return None if page is None else Response(status=200, body=page, headers=headers())

    def _view(self, path: str, query: Mapping[str, str], entry: re.Match[str] | None) -> bytes | None:
        status = self._status()
        if entry is not None:
            return entry_view(status, self._queries.entry(int(entry["index"]), status.size))
        if path == "":
            return overview_view(self._queries.overview(status))
        if path == "/verdicts":
            filters = read_filters(query)
            return verdicts_view(status, filters, self._queries.verdicts(filters, status.size))
        if path == "/policies":
            policies = self._queries.policies(status.size)
            return policies_view(status, policies, self._change(query, status.size))
        if path.startswith("/node/") and _NODE.fullmatch(path.removeprefix("/node/")):
            found = self._queries.node(path.removeprefix("/node/"), status.size, status.now)
            return None if found is None else node_view(status, *found)
        return None

    def _file(self, index: int, form: str) -> Response:
        if form == ".tlog-proof":
            return Response(status=200, body=self._log.proof(index), headers=PROOF)
        size = Checkpoint.parse(parse_note(self._log.checkpoint())[0]).size
        return Response(status=200, body=self._queries.entry(index, size).data, headers=JSON)

    def _status(self) -> Status:
        note = self._log.checkpoint()
        head = Checkpoint.parse(parse_note(note)[0])
        return Status(
            origin=head.origin,
            path=self._path,
            vkey=self._key.vkey,
            size=head.size,
            root=head.root,
            checkpoint=note.decode("utf-8", "replace"),
            newest=self._queries.newest_at(head.size),
            witnessed=self._witnesses.display,
            quorum_met=witnessed(note, self._witnesses).met,
            cosigners=cosigners(note, self._witnesses),
            simulated=self._simulated,
            now=self._clock(),
        )

    def _change(self, query: Mapping[str, str], size: int) -> PolicyChange | None:
        chosen = [_checked(query, name, _INDEX) for name in ("old", "new")]
        if not all(chosen):
            return None
        old, new = (self._queries.entry(int(index), size) for index in chosen)
        return compared(old, new)


def cosigners(note: bytes, policy: WitnessPolicy) -> Sequence[Cosigner]:
    """Every witness of the policy, those first that stand behind the note."""
    who = witnessed(note, policy)
    good = [Cosigner(name=shown(one.witness.name), at=datetime.fromtimestamp(one.at, UTC)) for one in who.cosigned]
    lying = [Cosigner(name=f"{shown(one.name)}: a line that does not verify", at=None) for one in who.lying]
    return [*good, *lying, *(Cosigner(name=shown(one.name), at=None) for one in who.missing)]


def compared(old: Logged, new: Logged) -> PolicyChange:
    """What differs between two published policies, or why that cannot be said."""
    texts = [entry.text("text") for entry in (old, new)]
    if not all(texts):
        return PolicyChange(old=old, new=new, lines=(), unread="The text of one is not in the log: only its digest is.")
    try:
        was, now = (read_policy(text.encode()) for text in texts)
    except SealbidError as error:
        return PolicyChange(old=old, new=new, lines=(), unread=f"One does not read with this version: {error.message}")
    return PolicyChange(old=old, new=new, lines=diff(was, now).lines())


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters of an address. Raises `Malformed` for one that is not of its form."""
    before = _checked(query, "before", _INDEX)
    verdict = query.get("verdict", "")
    if verdict not in ("", "pass", "fail"):
        raise Malformed("verdict is neither pass nor fail")
    return Filters(
        node=_checked(query, "node", _NODE),
        policy=_checked(query, "policy", _POLICY),
        verdict=verdict,
        since=_checked(query, "since", _DATE),
        until=_checked(query, "until", _DATE),
        before=int(before) if before else None,
    )


def _checked(query: Mapping[str, str], name: str, form: re.Pattern[str]) -> str:
    text = query.get(name, "").strip()
    if text and form.fullmatch(text) is None:
        raise Malformed(f"{name} is not of the form {form.pattern}")
    return text
