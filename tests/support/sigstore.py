# SPDX-License-Identifier: Apache-2.0
"""npm's @sigstore/verify, driven from a test: a reader of checkpoints and proofs that nobody here wrote.

Where node or the package is not set up its tests are skipped; with `SEALBID_REQUIRE_FOREIGN=1` they fail instead.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestation.tlog.note import NoteSigner
from tests.support.tree import ROOT

FOLDER: Final = ROOT / "tests" / "foreign" / "sigstore"
_SECONDS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An entry, its path, and the note the path should lead to, under the key of `signer`."""

    note: bytes
    signer: NoteSigner
    index: int
    path: Sequence[bytes]
    leaf: bytes

    def encode(self) -> str:
        """The case as the reader takes it."""
        spki = self.signer.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return json.dumps(
            {
                "note": self.note.decode("utf-8", "surrogateescape"),
                "key": _text(spki),
                "keyId": self.signer.verifier.key_id.hex(),
                "name": self.signer.name,
                "index": str(self.index),
                "path": [_text(value) for value in self.path],
                "leaf": _text(self.leaf),
            }
        )


def read_by_sigstore(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What it makes of each case: `origin` and `size`, or `refused`."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules" / "@sigstore" / "verify").is_dir():
        missing = "no node with @sigstore/verify here, want both: make test sets the package up where there is npm"
        if os.environ.get("SEALBID_REQUIRE_FOREIGN") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    asked = "".join(f"{case.encode()}\n" for case in cases)
    done = subprocess.run(
        [node, "read.js"], cwd=FOLDER, input=asked, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    return answers


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
