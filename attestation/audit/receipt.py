# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit receipt`: which node served this request, judged how, with which engine and price, in how many tries.

Reads two files and nothing else: the receipt, and the auditor's own trust root. Verification is `attestation.receipt`;
this module reads, and tells people and programs what was found. Where only the worker's signature is missing it tells
all the same what the gateway states, as undecided: SIGNATURE_MISSING, exit status 20.
"""

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from attestation.exits import Exit, exit_code
from attestation.files import read_start
from attestation.receipt import SignatureMissing, VerifiedReceipt, WorkerFacts, verify_receipt
from attestation.receipt_file import MAX_FILE_BYTES, ReceiptFile
from attestation.sealing.halves import Outcome
from attestation.trust import load_trust

SIMULATED: Final = "SIMULATED: this receipt comes from a simulated TEE, which protects nothing"
_OUTCOMES: Final = {
    Outcome.ANSWERED: "answered",
    Outcome.REFUSED: "refused by the worker",
    Outcome.FAILED: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptVerdict:
    """A receipt ready to be shown: accepted, or undecided where `missing` says what it lacks."""

    receipt: VerifiedReceipt
    checked_at: datetime
    missing: SignatureMissing | None

    @property
    def exit(self) -> Exit:
        """The exit status: accepted, or undecided; never anything else."""
        return Exit.ACCEPTED if self.missing is None else exit_code(self.missing)

    def to_json(self) -> dict[str, object]:
        """The whole verdict; keys are stable. What an undecided one states is the gateway's word only."""
        receipt, missing = self.receipt, self.missing
        refusal: dict[str, object] = (
            {}
            if missing is None
            else {
                "exit": int(self.exit),
                "reason": str(missing.reason),
                "message": missing.message,
                "findings": [f"{missing.reason}: {missing.message}"],
            }
        )
        return {
            "verdict": self.exit.name.lower(),
            **refusal,
            "simulated": receipt.simulated,
            "receipt": receipt.request_id.hex(),
            "outcome": receipt.outcome.name.lower(),
            "time": receipt.time.isoformat(),
            "checked_at": self.checked_at.isoformat(),
            "gateway": receipt.gateway_id.hex(),
            "price_nanos_per_1000_work_units": receipt.price_nanos,
            "charge_nanos": receipt.charge_nanos,
            "attempts": receipt.attempts,
            "witnesses": receipt.witnesses,
            "worker": None if receipt.worker is None else _worker_json(receipt.worker),
        }

    def lines(self) -> list[str]:
        """The verdict for people."""
        receipt = self.receipt
        rows = [
            ("receipt", receipt.request_id.hex()),
            ("outcome", _OUTCOMES[receipt.outcome]),
            ("time", receipt.time.isoformat()),
            *([] if receipt.worker is None else _worker_rows(receipt.worker)),
            ("price", f"{receipt.price_nanos} nUSD per 1,000 work units"),
            ("charge", f"{receipt.charge_nanos} nUSD"),
            ("attempts", str(receipt.attempts)),
            ("gateway", receipt.gateway_id.hex()),
            ("log", receipt.witnesses),
        ]
        warning = [SIMULATED] if receipt.simulated else []
        verdict = self.exit.name.lower()
        if self.missing is not None:
            verdict += f" ({self.missing.reason}): {self.missing.message}"
        return [*warning, verdict, *(f"  {name:<10} {value}" for name, value in rows)]


def audit_receipt_file(path: Path, trust: Path, *, now: datetime) -> ReceiptVerdict:
    """Verifies the receipt at `path` (`-` for standard input) under the trust root at `trust`.

    Raises:
        MalformedEvidence: the file is no receipt.
        NotGenuine: it is one, and a step of its verification does not hold.
        SettingsError: a file cannot be read, or the trust root is none.

    A receipt that lacks its worker's signature and nothing else is no error here: the verdict says undecided.
    """
    root = load_trust(trust, "trust file")
    # One byte more than a receipt may have: the parser then refuses it as malformed, not as a setting.
    start = MAX_FILE_BYTES + 1
    data = sys.stdin.buffer.read(start) if str(path) == "-" else read_start(path, "receipt", start)
    receipt = ReceiptFile.decode(data)
    try:
        return ReceiptVerdict(receipt=verify_receipt(receipt, root), checked_at=now, missing=None)
    except SignatureMissing as missing:
        return ReceiptVerdict(receipt=missing.stated, checked_at=now, missing=missing)


def _worker_json(worker: WorkerFacts) -> dict[str, object]:
    return {
        "worker": worker.worker_id.hex(),
        "keyset": worker.keyset_id.hex(),
        "provider": worker.provider,
        "engine_sha256": worker.engine_sha256.hex(),
        "status": worker.status.name,
        "work_units": worker.units,
        "started": worker.started.isoformat(),
        "ended": worker.ended.isoformat(),
        "verdict_index": worker.verdict_index,
        "verdict_at": worker.verdict_at.isoformat(),
        "valid_until": worker.valid_until.isoformat(),
        "policy": worker.policy,
        "policy_sha256": worker.policy_sha256.hex(),
    }


def _worker_rows(worker: WorkerFacts) -> list[tuple[str, str]]:
    valid = f"{worker.verdict_at.isoformat()} to {worker.valid_until.isoformat()}"
    return [
        ("node", worker.worker_id.hex()),
        ("provider", worker.provider),
        ("verdict", f"pass, log entry {worker.verdict_index}, valid {valid}"),
        ("policy", f"{worker.policy}, sha256 {worker.policy_sha256.hex()}"),
        ("engine", f"sha256 {worker.engine_sha256.hex()}"),
        ("status", f"{worker.status.name}, {worker.units} work units"),
    ]
