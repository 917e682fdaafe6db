"""Workers that do tasks: in this process, or in processes of their own that die with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from fersearch.distill import Progress, Task, execute
from fersearch.errors import FersearchError, InputError
from fersearch.plugins import load_installed_plugins, load_plugin, plugin_files
from fersearch.records import RunRecord

__all__ = ["Failure", "InlinePool", "Pool", "ProcessPool", "make_pool"]

Handler = Callable[[Progress], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that raised, or whose process died.

    Attributes:
        message: What happened, in one line.
        exit_code: Exit code of an error that was meant for the user; 0 for any other.
        details: The traceback.
        died: The process ended; what it was doing may well succeed if it is done again.
    """

    message: str
    exit_code: int = 0
    details: str = ""
    died: bool = False

    def error(self) -> FersearchError:
        """Return it as an error to raise."""
        if self.exit_code:
            kind = InputError if self.exit_code == InputError.exit_code else FersearchError
            return kind(self.message)
        error = FersearchError(f"a worker failed: {self.message}")
        error.__cause__ = RuntimeError(self.details)  # shown by --debug
        return error


Result = RunRecord | tuple[RunRecord, ...] | Failure | None


def _failure(error: Exception) -> Failure:
    meant = isinstance(error, FersearchError)
    return Failure(
        message=str(error) if meant else f"{type(error).__name__}: {error} ({_place(error)})",
        exit_code=error.exit_code if isinstance(error, FersearchError) else 0,
        details=traceback.format_exc(),
    )


def _place(error: Exception) -> str:
    """Return the file and line that an error came from: a plug-in's, where it went through one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() in plugin_files()]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name} line {frame.lineno}, in {frame.name}"


class Pool(Protocol):
    """Something that does tasks, a limited number at a time."""

    @property
    def free(self) -> int:
        """How many more tasks can be submitted now."""
        ...

    @property
    def busy(self) -> int:
        """How many tasks are submitted and not finished."""
        ...

    def submit(self, name: str, task: Task) -> None:
        """Start a task; needs a free worker."""
        ...

    def wait(self, handler: Handler) -> tuple[str, Result]:
        """Pass progress to ``handler`` until one task ends; return its name and result."""
        ...

    def close(self) -> None:
        """Stop the workers; what they were doing is lost up to the last checkpoint."""
        ...


class InlinePool:
    """Does one task at a time in this process."""

    def __init__(self) -> None:
        self._tasks: list[tuple[str, Task]] = []

    @property
    def free(self) -> int:
        """How many more tasks can be submitted now."""
        return 1 - len(self._tasks)

    @property
    def busy(self) -> int:
        """How many tasks are submitted and not finished."""
        return len(self._tasks)

    def submit(self, name: str, task: Task) -> None:
        """Remember a task; it runs in :meth:`wait`."""
        self._tasks.append((name, task))

    def wait(self, handler: Handler) -> tuple[str, Result]:
        """Run the submitted task."""
        name, task = self._tasks.pop()
        raised: list[Exception] = []

        def guarded(progress: Progress) -> bool:
            try:
                return handler(progress)
            except Exception as error:
                raised.append(error)
                raise

        try:
            return name, execute(task, guarded)
        except Exception as error:
            if raised:  # the handler's own error, not the task's
                raise
            return name, _failure(error)

    def close(self) -> None:
        """Forget a task that was submitted and never run."""
        self._tasks.clear()


def _serve(connection: Connection, parent: Connection, plugins: tuple[str, ...]) -> None:
    """Run tasks from ``connection`` until it closes; the body of a worker process."""
    # Ctrl-C reaches the whole process group: only the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent.close()
    load_installed_plugins()
    for plugin in plugins:
        load_plugin(plugin)

    def emit(progress: Progress) -> bool:
        connection.send(progress)
        return bool(connection.recv())

    while True:
        try:
            name, task = connection.recv()
        except EOFError:
            return
        try:
            result: Result = execute(task, emit)
        except (EOFError, BrokenPipeError):
            return
        except Exception as error:  # noqa: BLE001 - handed to the parent as a Failure
            result = _failure(error)
        connection.send((name, result))


def _watch_parent() -> None:
    """End this process when its parent has gone, however it went (kill -9 included)."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(connection: Connection, parent: Connection, plugins: tuple[str, ...]) -> None:
    _watch_parent()
    _serve(connection, parent, plugins)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    task: str = ""


class ProcessPool:
    """Does tasks in worker processes, each with its own PyTorch.

    Processes and not threads: dropout draws from a generator that threads would share.

    Args:
        size: Number of processes.
        plugins: Plug-in files that each process loads first.
    """

    def __init__(self, size: int, *, plugins: tuple[str, ...] = ()) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._plugins = plugins
        self._workers = [self._start() for _ in range(size)]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_worker, args=(theirs, ours, self._plugins), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process=process, connection=ours)

    @property
    def free(self) -> int:
        """How many more tasks can be submitted now."""
        return sum(not worker.task for worker in self._workers)

    @property
    def busy(self) -> int:
        """How many tasks are submitted and not finished."""
        return sum(bool(worker.task) for worker in self._workers)

    def submit(self, name: str, task: Task) -> None:
        """Send a task to a free worker; a worker that died while idle is replaced."""
        number = next(index for index, worker in enumerate(self._workers) if not worker.task)
        try:
            self._workers[number].connection.send((name, task))
        except (BrokenPipeError, ConnectionResetError):
            self._workers[number] = self._start()
            self._workers[number].connection.send((name, task))
        self._workers[number].task = name

    def wait(self, handler: Handler) -> tuple[str, Result]:
        """Pass progress to ``handler`` until one task ends; return its name and result."""
        while True:
            connections = {
                worker.connection: index
                for index, worker in enumerate(self._workers)
                if worker.task
            }
            for connection in wait(list(connections)):
                index = connections[connection]  # type: ignore[index]
                worker = self._workers[index]
                try:
                    message = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    return self._bury(index)
                if not isinstance(message, Progress):
                    worker.task = ""
                    name, result = message
                    return name, result
                # Outside any `try`: what the handler raises is not the worker's death.
                keep = handler(message)
                try:
                    worker.connection.send(keep)
                except (ConnectionResetError, BrokenPipeError):
                    return self._bury(index)

    def _bury(self, index: int) -> tuple[str, Result]:
        """Replace a worker that died and report its task as failed."""
        worker = self._workers[index]
        worker.process.join(timeout=5)
        worker.process.kill()
        code = worker.process.exitcode
        self._workers[index] = self._start()
        reason = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        hint = " (out of memory?)" if code == -signal.SIGKILL else ""
        return worker.task, Failure(message=f"its process ended with {reason}{hint}", died=True)

    def close(self) -> None:
        """Stop the workers: those that work at once, the others by letting them end."""
        for worker in self._workers:
            if worker.task:
                worker.process.terminate()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=5)
            if worker.process.exitcode is None:
                worker.process.terminate()
                worker.process.join(timeout=5)


def make_pool(jobs: int, *, plugins: tuple[str, ...] = ()) -> Pool:
    """Return workers for ``jobs`` tasks at a time; one works in this process."""
    return InlinePool() if jobs == 1 else ProcessPool(jobs, plugins=plugins)
