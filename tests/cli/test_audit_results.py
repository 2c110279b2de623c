# SPDX-License-Identifier: Apache-2.0
"""`sealbid audit evidence --ear` and `--cmw`: results and evidence in the forms other relying parties read."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from attestation.results.cmw import decode
from attestation.results.ear import read_ear_json
from attestation.results.token import verify_cwt, verify_jwt
from attestation.results.trust import Tier
from attestation.results.wrapped_bundle import unwrap_bundle
from tests.cli.test_audit_evidence import POLICIES, run
from tests.support.vectors import vectors
from tests.support.worlds import Machine, world

COMPOSITE = "composite/nanogpt_tee_gemma-3-27b-it_20260610_014905__model"
AT = ("--at", "2026-06-10T01:49:05Z", "--policy", str(POLICIES / "recorded-evidence.toml"))


@pytest.fixture
def key(tmp_path: Path) -> tuple[Ed25519PrivateKey, str]:
    """A signing key and its file."""
    made = Ed25519PrivateKey.generate()
    path = tmp_path / "key.pem"
    path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made, str(path)


def test_a_result_is_written_unsigned_and_signed(tmp_path: Path, key: tuple[Ed25519PrivateKey, str]) -> None:
    """The three forms say the same: CPU and GPU each with its status, nothing affirmed while a manifest is missing."""
    made, file = key
    capture = str(vectors(*COMPOSITE.split("/")))
    written = {}
    for name, extra in (("r.json", ()), ("r.cwt", ("--ear-key", file)), ("r.jwt", ("--ear-key", file))):
        code, _, err = run("evidence", capture, *AT, "--ear", str(tmp_path / name), *extra)
        assert (code, err) == (20, "")
        written[name] = (tmp_path / name).read_bytes()
    ear = read_ear_json(written["r.json"])
    assert set(ear.submods) == {"cpu", "gpu0"}
    assert ear.status is not Tier.AFFIRMING
    assert verify_cwt(written["r.cwt"], made.public_key()) == ear
    assert verify_jwt(written["r.jwt"].decode(), made.public_key()) == ear


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ear", "r.cwt"), "with --ear-key"),
        (("--ear", "r.txt"), "with --ear-key"),
        (("--ear-key", "key.pem"), "want both"),
        (("--ear", "r.jwt", "--ear-key", "policy"), "private key"),
    ],
)
def test_a_form_without_its_key_is_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Name and key must go together; a file that is no key is said to be none and not quoted."""
    files = [str(POLICIES / "development.toml") if name == "policy" else name for name in arguments]
    placed = [str(tmp_path / name) if name.startswith(("r.", "key.")) else name for name in files]
    code, out, err = run("evidence", str(vectors(*COMPOSITE.split("/"))), *AT, *placed)
    assert (code, out) == (2, "")
    assert said in err


def test_a_bundle_leaves_as_a_collection_and_comes_back(tmp_path: Path) -> None:
    """An archived bundle goes out as CMW, in CBOR and JSON, and reads back byte for byte; a bare quote has none."""
    here = world()
    bundle = Machine().bundle(here.challenge(), here.clock.now)
    archived = tmp_path / "bundle.bin"
    archived.write_bytes(bundle.encode())
    for name in ("c.cbor", "c.json"):
        code, _, err = run(
            "evidence",
            str(archived),
            "--policy",
            str(POLICIES / "development.toml"),
            "--at",
            here.clock.now.isoformat(),
            "--cmw",
            str(tmp_path / name),
        )
        assert (code, err) == (0, "")
        assert unwrap_bundle(decode((tmp_path / name).read_bytes())) == bundle
    code, _, err = run("evidence", str(vectors("tdx", "v4_00b2526ab1")), *AT, "--cmw", str(tmp_path / "none"))
    assert code == 20
    assert "no archived bundle" in err
    assert not (tmp_path / "none").exists()
