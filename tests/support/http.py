# SPDX-License-Identifier: Apache-2.0
"""HTTP as a reader does it, with the standard library, and bytes on a bare socket as an attacker does it."""

import asyncio
import http.client
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Got:
    """An answer; `headers` have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes


def fetch(address: str, path: str, *, method: str = "GET", **headers: str) -> Got:
    """One request on a connection of its own; underscores in names of headers are dashes."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


async def get(address: str, path: str, *, method: str = "GET", **headers: str) -> Got:
    """`fetch` beside the loop that serves."""
    return await asyncio.to_thread(fetch, address, path, method=method, **headers)


async def converse(address: str, sent: bytes, *, end: bool = True) -> bytes:
    """All bytes that come back for these bytes, until the other side closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(sent)
        if end:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
