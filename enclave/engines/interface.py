# SPDX-License-Identifier: Apache-2.0
"""The engine seam: load, describe, run, stream, close; and the errors engines raise.

An engine holds plaintext tensors while it runs and nothing after. It writes no file, opens no socket, logs no tensor,
and its errors never cite one.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sealbid_oip.codec import Array, Arrays
from sealbid_oip.generation import Sampling, TokenStep
from sealbid_oip.spec import ModelSpec

from attestation.errors import Reason, SealbidError


class EngineError(SealbidError):
    """An engine refused a model, an input or a run. The text names the kind of failure, never a value."""


class EngineCancelled(EngineError):
    """A run ended because its caller no longer wants the answer."""

    def __init__(self) -> None:
        super().__init__(Reason.ENGINE_FAILED, "run is cancelled, want a caller that waits")


class Cancellation:
    """A one-way switch shared by the caller of a run and the engine; any thread may turn it, any number of times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        """Whether the switch has been turned."""
        return self._cancelled

    def cancel(self) -> None:
        """Turn the switch and tell everyone who asked, once."""
        with self._lock:
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the switch is turned, at once if it has been; it runs in the turning thread."""
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()

    def check(self) -> None:
        """Raise `EngineCancelled` if the switch has been turned."""
        if self._cancelled:
            raise EngineCancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStream:
    """One generation under way: the prompt's length, for metering, and its steps as they are made."""

    prompt_tokens: int
    steps: Iterator[TokenStep]


class Engine(Protocol):
    """Runs one model.

    `load` comes first and once; `run` and `stream` may then be called from several threads at a time. `close` frees the
    model, may be called again, and anything after it raises. Running the same batch again gives the same bits.
    """

    @property
    def digest(self) -> bytes:
        """SHA-256 of the loaded model: what the worker's attestation commits to."""
        ...

    def load(self, model: bytes, expected_sha256: bytes) -> None:
        """Check the digest, and only then parse the model. Raises EngineError: ENGINE_REFUSED or UNSUPPORTED."""
        ...

    def describe(self) -> ModelSpec:
        """The model's interface. A `decoupled` model is called through `stream`, any other through `run`."""
        ...

    def run(self, batch: Arrays, *, cancellation: Cancellation | None = None) -> dict[str, Array]:
        """Run one batch. Does not check shapes beyond what the model needs. Raises EngineError."""
        ...

    def stream(self, inputs: Arrays, sampling: Sampling, *, cancellation: Cancellation | None = None) -> TokenStream:
        """Start one generation; each step is computed when it is asked for. Raises EngineError, then or at a step."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...
