# SPDX-License-Identifier: Apache-2.0
"""A relying party nobody here wrote: the `cwt` library, in an environment of its own, reads and makes tokens.

Run as a script there (it imports nothing of Sealbid): a JSON line in, a JSON line out. From tests: `ask`.
Where that environment is not set up its tests are skipped; with `SEALBID_REQUIRE_FOREIGN=1` they fail instead.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-cwt" / "bin" / "python"


def ask(**question: Any) -> dict[str, Any]:
    """The answer of the library to one question (`verify` or `sign`); skips or fails the test without it."""
    import pytest

    if not PYTHON.exists():
        missing = "no .venv-cwt with cwt here, want one: make test sets it up"
        if os.environ.get("SEALBID_REQUIRE_FOREIGN") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run(
        [str(PYTHON), "-I", __file__], input=json.dumps(question), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def main() -> None:
    """Answers one question."""
    import cwt  # type: ignore[import-not-found,unused-ignore]  # there only in its own environment

    question = json.load(sys.stdin)
    key = cwt.COSEKey.from_pem(question["pem"], kid=bytes.fromhex(question["kid"]))
    if question["do"] == "sign":
        claims = {int(label): value for label, value in question["claims"].items()}
        made = cwt.encode(claims, key)
        json.dump(
            {"token": made.hex(), "sealbid": any(name.startswith("attestation") for name in sys.modules)}, sys.stdout
        )
        return
    try:
        claims = cwt.decode(bytes.fromhex(question["token"]), key)
    except Exception as error:  # noqa: BLE001  whatever it raises is its answer
        json.dump({"error": type(error).__name__, "text": str(error)}, sys.stdout)
        return
    json.dump({"claims": _plain(claims)}, sys.stdout)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
