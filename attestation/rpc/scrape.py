# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics over HTTP for processes that have the library. Plain and open: bind it to a private address."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, start_http_server

from attestation.errors import SettingsError


def serve_metrics(address: str, metrics: CollectorRegistry) -> Callable[[], None]:
    """Serves `metrics` at `host:port` on a thread of its own; call the result to stop. Raises `SettingsError`."""
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=metrics)
    except (OSError, ValueError):
        message = f"metrics_listen {address} cannot be bound, want a free address of this machine"
        raise SettingsError(message) from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
