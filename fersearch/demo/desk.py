"""Takes pictures in, one after the other: bounded in bytes, in number and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fersearch.demo.bench import Answer, Bench, Wish
from fersearch.demo.refusal import RefusedError

__all__ = ["MOST_BYTES", "Desk"]

MOST_BYTES = 10_000_000
READ_SECONDS = 10.0
WORK_SECONDS = 30.0
# One picture is worked on, two wait; the page itself never has more than one under way.
MOST_UNDER_WAY = 3

Result = TypeVar("Result")


class Desk:
    """One thread that runs a bench, and the queue before it.

    A thread that has begun cannot be stopped: a picture whose answer nobody waits for any longer
    keeps its place until it is done, so that the queue never grows behind it.

    Args:
        bench: What does the work.
        read_seconds: How long the bytes of a picture may take to arrive.
        work_seconds: How long its answer may take, the wait in the queue included.
    """

    def __init__(
        self,
        bench: Bench,
        *,
        read_seconds: float = READ_SECONDS,
        work_seconds: float = WORK_SECONDS,
    ) -> None:
        self._bench = bench
        self._read_seconds = read_seconds
        self._work_seconds = work_seconds
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fersearch-demo")
        self._under_way = 0

    def run(self, work: Callable[[], Result]) -> Result:
        """Run something in the bench's thread and wait for it: before the server has started."""
        return self._pool.submit(work).result()

    def close(self) -> None:
        """Take no more work; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, stream: AsyncIterator[bytes], wish: Wish) -> Answer:
        """Read a picture and return what is said of it.

        Args:
            stream: The bytes of the picture, in any number of parts.
            wish: What is asked for.

        Raises:
            RefusedError: The queue is full, the bytes are too many or too slow, the picture is
                none or too large, or its answer took too long.
        """
        if self._under_way >= MOST_UNDER_WAY:
            raise RefusedError(429, "too many pictures at once: send the next after an answer")
        self._under_way += 1
        try:
            content = await asyncio.wait_for(_read(stream), self._read_seconds)
            future = self._pool.submit(self._bench.look, content, wish)
        except TimeoutError as error:
            self._leave()
            raise RefusedError(408, "the picture arrives too slowly") from error
        except BaseException:
            self._leave()
            raise
        loop = asyncio.get_running_loop()

        def done(_: Future[Answer]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._leave)

        future.add_done_callback(done)
        try:
            return await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(future)), self._work_seconds
            )
        except TimeoutError as error:
            future.cancel()
            raise RefusedError(
                504, f"no answer within {self._work_seconds:g} seconds: the models are too slow"
            ) from error

    def _leave(self) -> None:
        self._under_way -= 1


async def _read(stream: AsyncIterator[bytes]) -> bytes:
    """Return the bytes of a picture; what the sender says of their number is not relied on."""
    content = bytearray()
    async for part in stream:
        content += part
        if len(content) > MOST_BYTES:
            raise RefusedError(413, f"the picture has more than {MOST_BYTES / 1e6:g} MB")
    if not content:
        raise RefusedError(400, "there is no picture in the request")
    return bytes(content)
