# SPDX-License-Identifier: Apache-2.0
"""The baseline: a plain Open Inference Protocol server with the same engine, in the clear, nothing between.

    python -m benchmarks.plain_server HOST:PORT

It checks and decodes a request as the worker does and runs the engine in the event loop, which is the fastest a single
Python process can answer. Prints `ready` when it listens.
"""

import asyncio
import os
import sys
from typing import Any

import grpc
import uvloop
from sealbid_oip.codec import decode_inputs, encode_response
from sealbid_oip.service import SERVICE
from sealbid_oip.validate import parse_request, validate_request

from enclave.models.catalog import find_model, open_engine

OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


async def serve(address: str) -> None:
    """Serves until cancelled."""
    engine = open_engine(find_model("identity"), threads=1, entropy=os.urandom)
    spec = engine.describe()

    async def infer(payload: bytes, _context: Any) -> bytes:
        request = parse_request(payload)
        validate_request(request, spec)
        return encode_response(request, spec, engine.run(decode_inputs(request, spec)))

    server = grpc.aio.server(options=OPTIONS)
    handlers: dict[str, Any] = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    await server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
