"""What a running command shows: a live display on a terminal, plain lines when piped, or nothing.

Everything here goes to stderr: stdout is for the result.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from fersearch.data import Dataset
    from fersearch.distill import Progress
    from fersearch.search import StudyProgress

__all__ = ["Display", "clock", "shown_path"]

# When piped, at most one line this often tells of epochs; ends of runs are always told.
PLAIN_SECONDS = 5.0
PHASES = {
    "search": "trials",
    "confirm": "confirmation runs",
    "train": "runs",
    "test": "test",
}


def clock(seconds: float) -> str:
    """Return a duration as people read it.

    >>> clock(65), clock(3725)
    ('1:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def shown_path(path: Path) -> Path:
    """Return a path as a reader types it: relative where it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class Display:
    """Shows progress; a context manager, so that the terminal is left as it was.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._bars: Bars | None = None
        self._overall: TaskID | None = None
        self._runs: dict[str, TaskID] = {}
        self._phase = ""
        self._last_plain = 0.0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as RichProgress

            self._bars = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True, highlight=False),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def line(self, text: str) -> None:
        """Show a line of its own."""
        if self._quiet:
            return
        stamped = f"[{clock(time.monotonic() - self._started)}] {text}"
        if self._bars is not None:
            self._bars.console.print(stamped, markup=False, soft_wrap=True)
        else:
            print(stamped, file=sys.stderr, flush=True)

    def decoding(self, done: int, total: int) -> None:
        """Show how far the decoding of the data is."""
        self._images("decoding images", done, total)

    def aligning(self, done: int, total: int) -> None:
        """Show how far the alignment of the faces is."""
        self._images("aligning faces", done, total)

    def _images(self, text: str, done: int, total: int) -> None:
        if self._quiet or not total:
            return
        if self._bars is not None:
            self._overall_bar(text, done, total, "")
        elif done == total or time.monotonic() - self._last_plain > PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self.line(f"{text} {done}/{total}")

    def data(self, dataset: Dataset) -> None:
        """Say what the data were recognised as."""
        info = dataset.info
        totals = ", ".join(f"{count} {split}" for split, count in info.totals.items())
        rule = f", label rule {info.label_rule}" if info.label_rule else ""
        self.line(
            f"data: {info.layout}; {totals} images at {info.image_size} px, "
            f"{len(info.classes)} classes{rule}"
        )
        for note in info.notes:
            self.line(f"note: {note}")
        if info.skipped:
            self.line(f"note: {len(info.skipped)} broken images skipped, {info.skipped[0]} first")

    def study(self, progress: StudyProgress) -> None:
        """Show one moment of a running study."""
        if self._quiet:
            return
        if progress.message:
            self.line(progress.message + self._best(progress))
        if self._bars is not None:
            self._live_study(progress)
        elif progress.step is not None:
            now = time.monotonic()
            if now - self._last_plain > PLAIN_SECONDS:
                self._last_plain = now
                self.line(f"{_step_text(progress.step)}; {self._status(progress)}")

    def _best(self, progress: StudyProgress) -> str:
        if not progress.finished_run.startswith("trial") or progress.best is None:
            return ""
        return f"; best {progress.best:.1%} (trial {progress.best_trial})"

    def _status(self, progress: StudyProgress) -> str:
        parts = [f"{PHASES[progress.phase]} {progress.done}/{progress.total}"]
        if progress.best is not None:
            parts.append(f"best {progress.best:.1%} (trial {progress.best_trial})")
        if progress.images_per_second is not None:
            parts.append(f"{progress.images_per_second:,.0f} images/s")
        if progress.remaining_seconds is not None:
            parts.append(f"about {clock(progress.remaining_seconds)} left")
        return ", ".join(parts)

    def _overall_bar(self, text: str, done: int, total: int, note: str) -> None:
        assert self._bars is not None
        if self._overall is None:
            self._overall = self._bars.add_task(text, total=total, note=note)
        self._bars.update(
            self._overall, description=text, completed=done, total=max(1, total), note=note
        )

    def _live_study(self, progress: StudyProgress) -> None:
        assert self._bars is not None
        if progress.phase != self._phase:
            self._phase = progress.phase
            for task in self._runs.values():
                self._bars.remove_task(task)
            self._runs.clear()
        status = self._status(progress).partition(", ")[2]
        self._overall_bar(PHASES[progress.phase], progress.done, progress.total, status)
        if progress.step is not None:
            self._run_bar(progress.step)
        if progress.finished_run in self._runs:
            self._bars.remove_task(self._runs.pop(progress.finished_run))

    def _run_bar(self, step: Progress) -> None:
        assert self._bars is not None
        note = "" if step.record is None else f"validation {step.record.val_accuracy:.1%}"
        fields: dict[str, Any] = {"completed": step.done, "total": step.total, "note": note}
        text = f"  {step.run_id}" + (" soft labels" if step.stage == "soft labels" else "")
        if step.run_id not in self._runs:
            self._runs[step.run_id] = self._bars.add_task(text, total=step.total, note=note)
        self._bars.update(self._runs[step.run_id], description=text, **fields)


def _step_text(step: Progress) -> str:
    if step.record is None:
        return f"{step.run_id} soft labels {step.done}/{step.total}"
    return (
        f"{step.run_id} epoch {step.done}/{step.total}, validation {step.record.val_accuracy:.1%}"
    )
