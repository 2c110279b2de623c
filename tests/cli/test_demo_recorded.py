# SPDX-License-Identifier: Apache-2.0
"""The demo's scene of recorded evidence: each recording comes to what it must, and none at all is one line."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from attestation.errors import SealbidError
from attestation.exits import Exit
from sealbid.demo import recorded
from sealbid.demo.recorded import RECORDINGS, show_recorded
from tests.support.tree import ROOT
from tests.support.vectors import vectors


def told() -> str:
    screen = io.StringIO()
    show_recorded(ROOT, Console(file=screen, width=120))
    return screen.getvalue()


def test_each_recording_comes_to_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted as of its date, refused today by reason; full RIM match; a composite that stays undecided."""
    monkeypatch.setenv("SEALBID_VECTORS", str(vectors("tdx").parent))
    text = told()
    assert text.count("genuine, accepted") == 2
    assert text.count("so not accepted") == 2
    for reason in ("COLLATERAL_EXPIRED", "RIM_UNAVAILABLE"):
        assert reason in text


def test_without_recordings_the_scene_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo goes on where nobody has the recordings."""
    monkeypatch.setenv("SEALBID_VECTORS", str(tmp_path))
    assert told().count("\n") == 1


def test_a_recording_that_comes_to_something_else_breaks_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene promises; it does not narrate."""
    monkeypatch.setenv("SEALBID_VECTORS", str(vectors("tdx").parent))
    monkeypatch.setattr(recorded, "RECORDINGS", (replace(RECORDINGS[0], exit=Exit.REJECTED),))
    with pytest.raises(SealbidError, match="promise broken"):
        told()
