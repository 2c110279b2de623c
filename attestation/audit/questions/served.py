# SPDX-License-Identifier: Apache-2.0
"""The receipts in a bundle, each verified under the auditor's own keys and held against the bundle's log."""

from collections.abc import Iterator
from dataclasses import dataclass

from attestation.audit.bundle.layout import RECEIPTS
from attestation.audit.bundle.verified import VerifiedBundle
from attestation.audit.questions.verdicts import Judged, verdict_of
from attestation.errors import AttestationError, SealbidError
from attestation.receipt import SignatureMissing, VerifiedReceipt, verify_receipt
from attestation.receipt_file import ReceiptFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A receipt by its name in the bundle: what it proves, or why it proves nothing."""

    name: str
    verdict_entry: bytes
    """The entry it holds as its verdict; empty where nobody served."""
    receipt: VerifiedReceipt | None
    refused: SealbidError | None


def served(bundle: VerifiedBundle) -> Iterator[Served]:
    """Every receipt of the bundle, in the order of names. One whose worker never signed states what it states."""
    for path in bundle.files.names(RECEIPTS):
        name = path.removeprefix(RECEIPTS).removesuffix(".json")
        try:
            file = ReceiptFile.decode(bundle.files.read(path))
            entry = b"" if file.worker is None else file.worker.verdict.entry
            yield Served(name=name, verdict_entry=entry, receipt=_verified(file, bundle), refused=None)
        except AttestationError as error:
            yield Served(name=name, verdict_entry=b"", receipt=None, refused=error)


def verdict_behind(bundle: VerifiedBundle, one: Served) -> Judged | None:
    """The verdict that a receipt holds, if this log has the same bytes at its index; None shows a split view."""
    worker = None if one.receipt is None else one.receipt.worker
    if worker is None or worker.verdict_index >= bundle.view.size:
        return None
    found = bundle.view.entry(worker.verdict_index)
    return verdict_of(found) if found.entry.encoded == one.verdict_entry else None


def _verified(file: ReceiptFile, bundle: VerifiedBundle) -> VerifiedReceipt:
    try:
        return verify_receipt(file, bundle.trust)
    except SignatureMissing as missing:
        return missing.stated
