# SPDX-License-Identifier: Apache-2.0
"""The load generator: a process of its own that sends one prepared ModelInfer at a fixed concurrency.

Speaks JSON lines on standard input and output, so that the benchmark can alternate between targets within one run:

    in   {"target": "host:port", "key": str | null, "size": bytes, "clients": int, "requests": int}
    out  {"seconds": float, "latencies": [seconds, ..]}

Each client sends its next request when its last was answered (closed loop). Payloads are bytes made once; answers are
checked for the echoed element only, so that the client costs the same for every target.
"""

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import numpy as np
import uvloop
from sealbid_oip.codec import decode_outputs, encode_request
from sealbid_oip.messages import ModelInferResponse

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


def payload_of(size: int) -> tuple[bytes, Any]:
    """A serialized request whose tensor has `size` bytes, and the tensor."""
    values = np.random.default_rng(1).random(size // 4, np.float32)[np.newaxis, :]
    return encode_request("identity", {"x": values}).SerializeToString(), values


async def measure(call: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Runs one order against one connected target."""
    payload, values = payload_of(order["size"])
    metadata = [("authorization", f"Bearer {order['key']}")] if order["key"] else []
    first = decode_outputs(ModelInferResponse.FromString(await call(payload, metadata=metadata)))
    if not np.array_equal(next(iter(first.values())), values):
        raise RuntimeError("the answer is not the request's own tensor")
    latencies: list[float] = []
    left = order["requests"]

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            await call(payload, metadata=metadata)
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(order["clients"])))
    return {"seconds": time.perf_counter() - started, "latencies": latencies}


async def main() -> None:
    """Serves orders until standard input ends."""
    calls: dict[str, Any] = {}
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        if order["target"] not in calls:
            channel = grpc.aio.insecure_channel(order["target"], options=OPTIONS)
            calls[order["target"]] = channel.unary_unary(METHOD)
        sys.stdout.write(json.dumps(await measure(calls[order["target"]], order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
