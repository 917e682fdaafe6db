"""The accuracy that our training reaches beside the hand-written script's, over many seeds.

    python -m benchmarks quality --seeds 16 --out results/
    python -m benchmarks quality --seeds 8 --teacher-epochs 8 --temperature 4 --alpha 0.5

The same student with the same data, learning rate, epochs and batch size, once by our trainer and
once by the script's (``benchmarks/handwritten_study.py``), seed by seed in turn; with
``--teacher-epochs`` it is distilled, from a teacher that each trains anew for every seed. A seed
does not mean the same weights to both, so the two are independent samples. Printed are the best
validation accuracies and the difference of their means with its 95 % interval (Welch's t).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy import stats

from benchmarks.handwritten_study import STUDENT, Script, Training
from benchmarks.harness import Recorder, add_common
from benchmarks.loops import replayed
from benchmarks.pictures import export_pictures
from fersearch.data import Dataset, load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, train
from fersearch.environment import usable_cores
from fersearch.search.objectives import RunPlan, StudyContext, alone, distillation
from fersearch.spec import load_study, override


def plan_of(data: Dataset, given: argparse.Namespace, seed: int) -> RunPlan:
    """Return what the shipped study would train for the settings given."""
    budget = {
        "budget.epochs": given.epochs,
        "budget.batch_size": given.batch_size,
        "budget.teacher_epochs": max(1, given.teacher_epochs),
        "teacher.seed": seed,
    }
    context = StudyContext(
        spec=override(load_study("distill"), budget),
        info=data.info,
        preprocessing=Preprocessing.of_training_images(data.train.images),
        policy=ViewPolicy(),
    )
    params = {
        "learning_rate": given.learning_rate,
        "temperature": given.temperature,
        "alpha": given.alpha,
        "ffe_splits": given.ffe_splits,
    }
    return (distillation if given.teacher_epochs else alone)(context, params, seed)


def by_ours(data: Dataset, given: argparse.Namespace, seed: int, folder: Path) -> float:
    """Train by our trainer; return the best validation accuracy of its epochs."""
    plan = plan_of(data, given, seed)
    execution = Execution(threads=given.threads)
    signal = None
    if plan.teacher is not None:
        teacher = train(plan.teacher, data, execution=execution).model
        labels = folder / plan.teacher.digest()
        signal = replayed(labels, plan.job, data, teacher, execution=execution, epochs=given.epochs)
    outcome = train(plan.job, data, execution=execution, teacher=signal)
    return max(record.val_accuracy for record in outcome.epochs)


def by_script(script: Script, given: argparse.Namespace, seed: int) -> float:
    """Train by the script; return the best validation accuracy of its epochs."""
    torch.manual_seed(seed)
    network = script.network(STUDENT)
    script.teachers.clear()
    training = Training(
        script,
        network,
        rate=given.learning_rate,
        epochs=given.epochs,
        teacher=script.teacher(given.ffe_splits) if given.teacher_epochs else None,
        temperature=given.temperature,
        alpha=given.alpha,
    )
    found = []
    for _ in range(given.epochs):
        training.epoch()
        found.append(training.accuracy())
    return max(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train by both and compare."""
    parser = argparse.ArgumentParser(
        prog="quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="synthetic:train=1000,val=400,test=200,difficulty=easy")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--teacher-epochs", type=int, default=0, help="0: no teacher")
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--ffe-splits", type=int, default=4)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    add_common(parser, rounds=None)
    given = parser.parse_args(arguments)
    given.threads = given.threads or usable_cores()
    torch.set_num_threads(given.threads)
    record = Recorder("quality", given)
    found: dict[str, list[float]] = {"ours": [], "the script": []}
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(given.data, cache=Path(folder))
        pixels = Preprocessing.of_training_images(data.train.images)
        pictures = export_pictures(data, Path(folder) / "pictures")
        wanted = {"pictures": pictures, "mean": pixels.mean[0], "std": pixels.std[0], "loaders": 0}
        script = Script(argparse.Namespace(**{**vars(given), **wanted}))
        for seed in range(given.seeds):
            found["ours"].append(100 * by_ours(data, given, seed, Path(folder)))
            found["the script"].append(100 * by_script(script, given, seed))
            print(f"  seed {seed}: {found['ours'][-1]:.1f}, {found['the script'][-1]:.1f} %")
    taught = ""
    if given.teacher_epochs:
        taught = (
            f" distilled (T = {given.temperature:g}, alpha = {given.alpha:g}, "
            f"n = {given.ffe_splits})"
        )
    record.say(f"{STUDENT}{taught}, best validation accuracy on {len(data.val)} images")
    for name, values in found.items():
        record.add(name, values, "%", digits=1)
    tell_difference(record, found["ours"], found["the script"])
    record.finish()


def tell_difference(record: Recorder, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """Print and keep the difference of the means in points, with its interval."""
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    interval = test.confidence_interval(0.95)
    means = [sum(values) / len(values) for values in (ours, theirs)]
    difference = means[0] - means[1]
    record.figures["difference"] = {
        "points": difference,
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(test.pvalue),
    }
    bounds = f"{interval.low:+.1f} to {interval.high:+.1f}"
    record.say(f"  means: ours {means[0]:.1f} %, the script {means[1]:.1f} %")
    record.say(
        f"  difference {difference:+.1f} points (95 % interval {bounds}, p = {test.pvalue:.2f})"
    )


if __name__ == "__main__":
    main()
