# SPDX-License-Identifier: Apache-2.0
"""Ruling 22 outside the seal: no channel compresses, and the interval of a stream belongs to its tier."""

import ast
from pathlib import Path

from attestation.offer import Tier
from gateway.request import FLUSH_MILLISECONDS

ROOT = Path(__file__).resolve().parents[3]
TOPS = ("attestation", "gateway", "enclave", "sealbid")
ASKS = {"compression", "grpc.default_compression_algorithm", "set_compression", "Compression"}


def asks_for_compression(source: str) -> list[str]:
    """What in a module would make gRPC compress: an argument, a channel option, a call or the enumeration."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = {
            getattr(node, "arg", None) if isinstance(node, ast.keyword) else None,
            node.attr if isinstance(node, ast.Attribute) else None,
            node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None,
        }
        found += sorted(str(name) for name in names if name in ASKS)
    return found


def test_ruling_22_no_channel_compresses() -> None:
    """A compressed payload's length depends on its content, so nothing that speaks gRPC asks for compression."""
    modules = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
    assert len(modules) > 100
    found = {str(path): asks_for_compression(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_the_rule_can_fail() -> None:
    """Each way of asking is seen."""
    for line in (
        "grpc.aio.server(compression=x)",
        "context.set_compression(x)",
        "x = grpc.Compression.Gzip",
        "options = [('grpc.default_compression_algorithm', 2)]",
    ):
        assert asks_for_compression(line)


def test_ruling_22_streams_leave_on_the_interval_of_their_tier() -> None:
    """20 ms interactive, 50 standard, 200 batch: sealed into the header, so the gateway cannot hurry a worker."""
    assert FLUSH_MILLISECONDS == {Tier.INTERACTIVE: 20, Tier.STANDARD: 50, Tier.BATCH: 200}
