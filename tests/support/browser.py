# SPDX-License-Identifier: Apache-2.0
"""A real Chromium without a screen, driven over its own debugging pipe (no port, no library).

Skips where it is not installed, unless SEALBID_REQUIRE_BROWSER=1 says that it must be there.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest

WAIT_SECONDS: Final = 60.0
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-sync",
    "--no-sandbox",  # tests run as root in containers, and the only site visited is our own
)


def chromium() -> str:
    """Where Chromium is."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("SEALBID_REQUIRE_BROWSER") == "1":
            pytest.fail("chromium is not installed, and SEALBID_REQUIRE_BROWSER=1 asks for it")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return path


@contextmanager
def browser(folder: Path) -> Iterator["Browser"]:
    """A browser with a new profile below `folder`, for as long as the block lasts."""
    to_browser, from_browser = os.pipe(), os.pipe()
    # The pipe's ends are descriptors 3 and 4 by definition; a shell moves them there.
    script = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    process = subprocess.Popen(
        ["bash", "-c", script, chromium(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        pass_fds=(to_browser[0], from_browser[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    with os.fdopen(to_browser[1], "wb", buffering=0) as sent, os.fdopen(from_browser[0], "rb") as got:
        try:
            yield Browser(sent, got)
        finally:
            process.kill()
            process.wait()


class Browser:
    """The debugging protocol: one command at a time, events are dropped unless asked about."""

    def __init__(self, sent: IO[bytes], got: IO[bytes]) -> None:
        self._sent = sent
        self._got = got
        self._buffer = bytearray()
        self._number = 0
        self.events: list[Mapping[str, Any]] = []

    def tab(self) -> "Tab":
        """A new tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        return Tab(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """The result of one command."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._sent.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while (end := self._buffer.find(b"\0")) < 0:
            data = os.read(self._got.fileno(), 1 << 16)
            assert data, "the browser ended"
            self._buffer += data
        message: dict[str, Any] = json.loads(self._buffer[:end])
        del self._buffer[: end + 1]
        return message


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Loads a page and waits until its script has done what it does."""
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.documentElement.dataset.checked === 'done'")

    def open_without_script(self, url: str) -> None:
        """Loads a page as a browser without JavaScript."""
        self._call("Emulation.setScriptExecutionDisabled", value=True)
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.querySelector('main') !== null")

    def look(self, *, width: int, height: int = 900, scheme: str = "light", media: str = "screen") -> None:
        """Screen size, colour scheme and medium from here on."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def value(self, expression: str) -> Any:
        """What an expression comes to, awaited if it is a promise."""
        got = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"the page never came to {expression}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """The text of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self) -> bytes:
        """What is on the screen, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=False)["data"])

    def requests(self) -> list[str]:
        """Every address this tab has asked for."""
        self.value("1")
        return [
            str(event["params"]["request"]["url"])
            for event in self._browser.events
            if event.get("method") == "Network.requestWillBeSent" and event.get("sessionId") == self._session
        ]

    def complaints(self) -> list[str]:
        """What the browser logged: errors of scripts, and what the content policy refused."""
        self.value("1")
        logged = [event for event in self._browser.events if event.get("sessionId") == self._session]
        entries = [str(event["params"]["entry"]["text"]) for event in logged if event["method"] == "Log.entryAdded"]
        thrown = [str(event["params"]) for event in logged if event["method"] == "Runtime.exceptionThrown"]
        return [*entries, *thrown]

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)
