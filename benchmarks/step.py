"""Images a second of training loops: ours with replay, and what one would use instead.

    python -m benchmarks step --image-size 48 --batch-size 64 --rounds 7 --out results/

``floor``         the student's forward, backward and optimiser on one fixed batch
``recorded floor``  the same, recorded and started as one (a CUDA graph); only on a GPU
``replay``        our loop with replayed soft labels
``compiled``      the same with compiled steps; only with ``--compile``, and compiling not counted
``online``        our loop with the teacher at every step
``plain``         a PyTorch loop: ImageFolder, DataLoader, PIL transforms, the teacher at every step
``torchdistill``  torchdistill's loop on the same pictures; needs ``pip install torchdistill``
``X, two processes``  two processes of X at once with one thread each, all cores in all

Everything is trained one epoch in turn, round after round. What a study also saves by computing
soft labels once is not in these figures: ``study`` has it.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Recorder, add_common, interleaved
from fersearch.environment import resolve_device, usable_cores

if TYPE_CHECKING:
    from benchmarks.loops import LoopSetup

PAIRED = ("replay", "compiled", "torchdistill")
NAMES = ("floor", "recorded floor", "replay", "compiled", "online", "plain", "torchdistill")
COMPARED = (
    ("replay", "floor"),
    ("replay", "recorded floor"),
    ("replay", "online"),
    ("replay", "plain"),
    ("replay", "torchdistill"),
    ("replay, two processes", "torchdistill, two processes"),
    ("compiled", "replay"),
    ("compiled, two processes", "torchdistill, two processes"),
)


class Pair:
    """Processes that train one loop each, with one thread, and start every epoch together."""

    def __init__(self, name: str, setup: LoopSetup, count: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, name, replace(setup, threads=1)), daemon=True
            )
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        for _, connection in self._workers:
            connection.recv()  # ready

    def epoch(self) -> int:
        """Train an epoch in every process; return the images of all."""
        for _, connection in self._workers:
            connection.send(True)
        return sum(int(connection.recv()) for _, connection in self._workers)

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._workers:
            connection.send(False)
            process.join()


def _serve(connection: Connection, name: str, setup: LoopSetup) -> None:
    from benchmarks.loops import make_loop

    epoch = make_loop(name, setup)
    connection.send(0)
    while connection.recv():
        connection.send(epoch())


def speed(epoch: Callable[[], int]) -> Callable[[], float]:
    """Return a task that trains an epoch and gives images a second."""

    def task() -> float:
        start = time.perf_counter()
        images = epoch()
        return images / (time.perf_counter() - start)

    return task


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image-size", type=int, default=48, help="48, 112 or 224, say")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=1280, help="images of an epoch")
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--loaders", type=int, default=0, help="DataLoader processes of the others")
    parser.add_argument("--student", default="shufflenet_v2_x1_0")
    parser.add_argument("--teacher", default="eff_resnet18")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    parser.add_argument("--autocast", choices=["never", "auto"], default="never")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("--compile", action="store_true", help="compiled steps, too: minutes more")
    parser.add_argument("--no-pairs", action="store_true", help="leave two processes out")
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures for next time")
    add_common(parser)
    given = parser.parse_args(arguments)
    left_out = {
        "compiled": not given.compile,
        "recorded floor": resolve_device(given.device) == "cpu",
    }
    if resolve_device(given.device) == "cpu" and "recorded floor" in (given.only or []):
        parser.error("steps are recorded on a GPU only: leave out --only 'recorded floor'")
    names = given.only or [name for name in NAMES if not left_out.get(name)]
    record = Recorder("step", given)
    if "torchdistill" in names and importlib.util.find_spec("torchdistill") is None:
        record.say("torchdistill is not installed, so left out: pip install torchdistill")
        names.remove("torchdistill")
    with tempfile.TemporaryDirectory() as folder:
        measure(record, given, names, given.cache or Path(folder))
    record.finish()


def measure(
    record: Recorder, given: argparse.Namespace, names: Sequence[str], folder: Path
) -> None:
    """Train every loop in turn and record images a second."""
    from benchmarks.loops import LoopSetup, make_loop, open_data

    setup = LoopSetup(
        folder=folder,
        images=given.images,
        image_size=given.image_size,
        batch_size=given.batch_size,
        student=given.student,
        teacher=given.teacher,
        threads=given.threads or usable_cores(),
        loaders=given.loaders,
        autocast=given.autocast,
        device=resolve_device(given.device),
    )
    open_data(setup)
    tasks = {name: speed(make_loop(name, setup)) for name in names}
    paired = [] if given.no_pairs else [name for name in PAIRED if name in names]
    pairs = {f"{name}, two processes": Pair(name, setup) for name in paired}
    tasks |= {name: speed(pair.epoch) for name, pair in pairs.items()}
    try:
        found = interleaved(tasks, rounds=given.rounds)
    finally:
        for pair in pairs.values():
            pair.close()
    record.say(
        f"{given.student} taught by {given.teacher}, {given.image_size} px, batch "
        f"{given.batch_size}, {setup.threads} threads, autocast {given.autocast}"
    )
    for name, values in found.items():
        record.add(name, values, "images/s", digits=0)
    if setup.device != "cpu":
        import torch

        memory = torch.cuda.max_memory_allocated() / 1e6
        record.figures["gpu"] = {"name": torch.cuda.get_device_name(), "memory_mb": memory}
        record.say(
            f"  {torch.cuda.get_device_name()}: at most {memory:.0f} MB held by this process"
        )
    for over, under in COMPARED:
        if over in found and under in found:
            record.compare(over, under)


if __name__ == "__main__":
    main()
