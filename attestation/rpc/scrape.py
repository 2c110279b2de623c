# SPDX-License-Identifier: Apache-2.0
"""Prometheus metrics over HTTP for processes that have the library. Plain and open: bind it to a private address."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, start_http_server


def serve_metrics(address: str, metrics: CollectorRegistry) -> Callable[[], None]:
    """Serves `metrics` at `host:port` on a thread of its own; call the result to stop."""
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), addr=host.strip("[]"), registry=metrics)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
