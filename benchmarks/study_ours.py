"""A study of fersearch in a process of its own, which notes when each epoch was over."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fersearch


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--vectorize", default="auto")
    parser.add_argument("--no-track", action="store_true")
    given = parser.parse_args(arguments)
    phases: list[str] = []

    def tell(**event: object) -> None:
        with given.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **event}) + "\n")

    def listener(progress: Any) -> None:
        if progress.phase != "search" and not phases:
            phases.append(progress.phase)
            tell(end="search")
        step = progress.step
        if step is not None and step.record is not None and step.run_id.startswith("trial-"):
            tell(
                trial=int(step.run_id.split("-")[1]),
                epoch=step.record.epoch,
                accuracy=step.record.val_accuracy,
            )

    result = fersearch.run_study(
        "distill",
        data=given.data,
        workspace=given.workspace,
        settings=given.settings,
        jobs=given.jobs,
        threads=given.threads,
        device=given.device,
        vectorize=given.vectorize if given.vectorize == "auto" else int(given.vectorize),
        track=not given.no_track,
        export=False,
        listener=listener,
    )
    tell(end="study")
    print(result)


if __name__ == "__main__":
    main()
