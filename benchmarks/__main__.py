"""Runs a benchmark by its name: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

BENCHMARKS = {
    "step": "images a second of training loops, replay beside online teachers",
    "floor": "a student's step beside torchvision's network, and our loop beside its step",
    "parts": "what a step on a CPU is made of, and what each faster part is worth",
    "vectorize": "students trained in one program beside one after another",
    "study": "a whole study beside a script written by hand with Optuna and MLflow",
    "quality": "the accuracy that our training reaches beside the script's, over many seeds",
    "gpu_study": "a whole study on a GPU: its time, and how busy the GPU is",
    "overhead": "what the search, the tracking and the start cost",
    "pruners": "which pruner finds the best settings for the least training",
    "scaling": "time against images, image size, trials, students and workers; memory",
    "latency": "the student beside the baselines, one image at a time",
    "replay": "seconds an epoch without a teacher, with replay, with the teacher online",
    "precision": "bfloat16 beside float32",
    "tracking": "milliseconds that MLflow costs a run",
    "page": "writes what was measured into docs/performance.md",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmark, or say which there are."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in BENCHMARKS:
        wanted = bool(words) and words[0] not in {"-h", "--help"}
        output = sys.stderr if wanted else sys.stdout
        if wanted:
            print(f"there is no benchmark {words[0]!r}", file=output)
        print("usage: python -m benchmarks NAME [options], NAME --help for those", file=output)
        for name, what in BENCHMARKS.items():
            print(f"  {name:<11} {what}", file=output)
        return 2 if wanted else 0
    importlib.import_module(f"benchmarks.{words[0]}").main(words[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
