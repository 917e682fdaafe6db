"""What every sink of run records can do, and the one that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from fersearch.records import RunRecord

__all__ = ["NullTracker", "Sink"]


class Sink(Protocol):
    """Takes the records of a study's runs; none of its methods raises for the store's failures."""

    @property
    def uri(self) -> str:
        """Where the runs go; empty for a sink that keeps nothing."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be written so far, one line each; empty when all is well."""
        ...

    def start_study(
        self,
        name: str,
        *,
        protocol: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        identity: str = "",
    ) -> None:
        """Open the study ``name``, or take it up again."""
        ...

    def log(self, record: RunRecord, artifacts: Sequence[Path] = ()) -> None:
        """Write one finished run; writing the same record again changes nothing."""
        ...

    def sync(self, records: Iterable[RunRecord]) -> None:
        """Write those of ``records`` that the store does not hold."""
        ...

    def finish_study(
        self,
        metrics: Mapping[str, float],
        artifacts: Sequence[Path] = (),
        *,
        state: str = "complete",
    ) -> None:
        """Close the study that was started last, with its result."""
        ...

    def flush(self, timeout: float | None = None) -> bool:
        """Try to write everything that waits; return whether nothing waits any more."""
        ...

    def close(self, timeout: float = 30.0) -> None:
        """Flush and let go of the store."""
        ...

    def __enter__(self) -> Self:
        """Return the sink itself."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the sink."""
        ...


class NullTracker:
    """A sink that keeps nothing, for runs without tracking."""

    uri = ""
    warnings: tuple[str, ...] = ()

    def start_study(
        self,
        name: str,
        *,
        protocol: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        identity: str = "",
    ) -> None:
        """Do nothing."""

    def log(self, record: RunRecord, artifacts: Sequence[Path] = ()) -> None:
        """Do nothing."""

    def sync(self, records: Iterable[RunRecord]) -> None:
        """Do nothing."""

    def finish_study(
        self,
        metrics: Mapping[str, float],
        artifacts: Sequence[Path] = (),
        *,
        state: str = "complete",
    ) -> None:
        """Do nothing."""

    def flush(self, timeout: float | None = None) -> bool:
        """Return true: nothing ever waits."""
        return True

    def close(self, timeout: float = 30.0) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        """Return the tracker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing."""
