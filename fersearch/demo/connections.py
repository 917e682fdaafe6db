"""Connections that ask for nothing are closed, so that a few idle ones cannot keep everybody out.

uvicorn bounds the wait between two requests of a connection (its keep-alive time), but neither the
wait for the first one nor the time that the head of a request may take.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["REQUEST_SECONDS", "PromptProtocol"]

# How long the head of a request may take, from the connection or from its first byte on. Browsers
# open connections ahead of need, and open another one when such a one was closed.
REQUEST_SECONDS = 10.0


class PromptProtocol(H11Protocol):
    """HTTP/1.1 for uvicorn that closes a connection whose request does not arrive in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; the wait goes on until they make up the head of a request."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
