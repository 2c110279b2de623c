# SPDX-License-Identifier: Apache-2.0
"""A script for an environment that holds tritonclient and nothing of Sealbid: does what it reads, prints what it saw.

stdin    {"gateway": "host:port", "headers": {..}, "client": "sync" | "aio", "steps": [step, ..]}
stdout   [result, ..]
step     {"call": METHOD, "arguments": {..}}            a method of the client that answers without tensors
         {"infer": request} | {"together": [request, ..]} | {"stream": [request, ..]}
         {"raw_stream": [request, ..]}                  over the stub that tritonclient ships, to see parameters
         {"modules": [name, ..]}                        which of these could be imported here
request  {"model", "inputs": {name: {"datatype", "shape", "data": base64}}, "id"?, "parameters"?, "outputs"?}
result   what the call returned, {"outputs": .., "parameters": .., "id": ..}, or {"error": text, "status": text}
"""

import asyncio
import base64
import importlib.util
import inspect
import json
import queue
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2_grpc
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import triton_to_np_dtype

SECONDS = 60


class Session:
    """One client and the steps it takes; the synchronous and the aio client differ in `infer` and streams only."""

    def __init__(self, client: Any, *, gateway: str, headers: dict[str, str]) -> None:
        self._client = client
        self._gateway = gateway
        self._headers = headers

    async def take(self, step: dict[str, Any]) -> Any:
        """One step's result."""
        ((kind, subject),) = ((name, value) for name, value in step.items() if name != "arguments")
        if kind == "call":
            return await self._call(subject, **step.get("arguments", {}))
        if kind == "modules":
            return [name for name in subject if importlib.util.find_spec(name) is not None]
        return await getattr(self, f"_{kind}")(subject)

    async def _call(self, method: str, **arguments: Any) -> Any:
        try:
            found = getattr(self._client, method)(headers=self._headers, client_timeout=SECONDS, **arguments)
            return await found if inspect.isawaitable(found) else found
        except triton.InferenceServerException as error:
            return refused(error)

    async def _infer(self, request: dict[str, Any]) -> Any:
        arguments = prepared(request)
        found = await self._call("infer", **arguments)
        return found if isinstance(found, dict) else answered(found)

    async def _together(self, requests: list[dict[str, Any]]) -> list[Any]:
        if isinstance(self._client, triton_aio.InferenceServerClient):
            return list(await asyncio.gather(*map(self._infer, requests)))
        waiting: list[queue.SimpleQueue[Any]] = []
        for request in requests:
            waiting.append(queue.SimpleQueue())
            self._client.async_infer(
                **prepared(request),
                headers=self._headers,
                client_timeout=SECONDS,
                callback=lambda result, error, into=waiting[-1]: into.put(seen(result, error)),
            )
        return [into.get(timeout=SECONDS) for into in waiting]

    async def _stream(self, requests: list[dict[str, Any]]) -> list[Any]:
        if isinstance(self._client, triton_aio.InferenceServerClient):
            responses = self._client.stream_infer(given(requests), headers=self._headers, stream_timeout=SECONDS)
            return [seen(result, error) async for result, error in responses]
        found: list[Any] = []
        self._client.start_stream(
            callback=lambda result, error: found.append(seen(result, error)),
            headers=self._headers,
            stream_timeout=SECONDS,
        )
        for request in requests:
            self._client.async_stream_infer(**prepared(request))
        self._client.stop_stream()  # waits until every request of the stream is answered
        return found

    async def _raw_stream(self, requests: list[dict[str, Any]]) -> list[Any]:
        unset = {"model_version": "", "outputs": None, "request_id": "", "parameters": None}
        nothing = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0, "timeout": None}
        messages = [_get_inference_request(**(unset | nothing | prepared(request))) for request in requests]
        async with grpc.aio.insecure_channel(self._gateway) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = tuple(self._headers.items())
            call = stub.ModelStreamInfer(iter(messages), metadata=metadata, timeout=SECONDS)
            return [
                {"error": response.error_message} | answered(triton.InferResult(response.infer_response))
                async for response in call
            ]


async def given(requests: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Requests as the aio client takes them."""
    for request in requests:
        yield prepared(request)


def prepared(request: dict[str, Any]) -> dict[str, Any]:
    """A request as arguments of tritonclient's methods."""
    inputs = []
    for name, tensor in request["inputs"].items():
        data = base64.b64decode(tensor["data"])
        if tensor["datatype"] == "BYTES":
            array = np.array([data], np.object_)
        else:
            array = np.frombuffer(data, triton_to_np_dtype(tensor["datatype"])).reshape(tensor["shape"])
        inputs.append(triton.InferInput(name, tensor["shape"], tensor["datatype"]))
        inputs[-1].set_data_from_numpy(array)
    arguments = {"model_name": request["model"], "inputs": inputs, "request_id": request.get("id", "")}
    arguments["model_version"] = request.get("version", "")
    if "parameters" in request:
        arguments["parameters"] = request["parameters"]
    if "outputs" in request:
        arguments["outputs"] = [triton.InferRequestedOutput(name) for name in request["outputs"]]
    return arguments


def seen(result: Any, error: Any) -> dict[str, Any]:
    """What a callback or a stream was given."""
    return answered(result) if error is None else refused(error)


def answered(result: Any) -> dict[str, Any]:
    """An answer: tensors as bytes, parameters as values."""
    response = result.get_response()
    outputs = {}
    for output in response.outputs:
        array = result.as_numpy(output.name)
        data = b"".join(array.tolist()) if output.datatype == "BYTES" else array.tobytes()
        outputs[output.name] = {
            "datatype": output.datatype,
            "shape": list(output.shape),
            "data": base64.b64encode(data).decode(),
        }
    parameters = {
        name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in response.parameters.items()
    }
    model = {"model": response.model_name, "version": response.model_version, "id": response.id}
    return model | {"outputs": outputs, "parameters": parameters}


def refused(error: Any) -> dict[str, Any]:
    """A refusal as tritonclient shows it."""
    return {"error": error.message(), "status": error.status()}


async def main() -> None:
    """Takes the steps of one document in order."""
    document = json.load(sys.stdin)
    kind = triton if document["client"] == "sync" else triton_aio
    client = kind.InferenceServerClient(document["gateway"])
    session = Session(client, gateway=document["gateway"], headers=document["headers"])
    results = [await session.take(step) for step in document["steps"]]
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
