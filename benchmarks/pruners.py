"""Which pruner finds the best settings for the least training.

    python -m benchmarks pruners --out results/
    python -m benchmarks pruners --curves results/pruners-curves.json

First settings drawn at random are trained to the end, without pruning: real learning curves of
the real student on drawn faces. Then our search runs many times over, with each pruner and each
sampler, and trials that cost nothing: a forest of regression trees that was fitted to the curves
answers for any settings, and the differences of one trained curve, drawn at random, are added, so
that trials are as noisy as the real ones. What a search has spent is the number of epochs that its
trials went through. What it has found is the noiseless value of the settings that it would choose.

``--curves`` takes the curves of an earlier run, and nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness import Recorder, add_common
from fersearch.seeds import derive_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

    from fersearch.data import Dataset

PRUNERS = ("hyperband", "median", "none")
COLOURS = {"hyperband": "#1f3a5f", "median": "#c26a3d", "none": "#5f8f5f"}
LINES = {"tpe": "-", "random": ":"}
# Settings that are asked of the forest to learn what the best ones reach.
SAMPLE = 20_000
# How near to the best counts as near, in 0-1.
NEAR = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the curves, or read them, and search over them."""
    parser = argparse.ArgumentParser(
        prog="pruners", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="synthetic:train=1000,val=500,test=200,image_size=48")
    parser.add_argument("--settings", type=int, default=64, help="settings that are trained")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--searches", type=int, default=20, help="searches of each kind")
    parser.add_argument("--trials", type=int, default=150, help="trials of a search, at most")
    parser.add_argument("--budget", type=int, default=50, help="what searches may train, in trials")
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    parser.add_argument("--curves", type=Path, help="JSON file of curves that were trained before")
    parser.add_argument("--workspace", type=Path, help="keeps what is trained")
    add_common(parser, rounds=None)
    given = parser.parse_args(arguments)
    record = Recorder("pruners", given)
    with tempfile.TemporaryDirectory() as folder:
        trained = _read(given.curves) if given.curves else _train(given, Path(folder))
        record.say(f"curves of {len(trained['curves'])} settings: {trained['of']}")
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            file = given.out / "pruners-curves.json"
            file.write_text(json.dumps(trained, indent=1) + "\n", encoding="utf-8")
        found = compare(record, given, Answers(trained["curves"]), Path(folder))
    record.finish(lambda axes: draw(axes, found))


def _read(file: Path) -> dict[str, Any]:
    trained: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return trained


def _train(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train settings drawn at random to the end; return settings and validation accuracies."""
    import optuna

    import fersearch
    from fersearch.search.storage import default_storage_url

    workspace = given.workspace or folder / "workspace"
    fersearch.run_study(
        "distill",
        data=given.data,
        workspace=workspace,
        settings={
            "search.sampler": "random",
            "search.pruner": "none",
            "budget.trials": given.settings,
            "budget.epochs": given.epochs,
            "budget.teacher_epochs": given.teacher_epochs,
            "budget.batch_size": given.batch_size,
            "budget.seeds": 1,
            "budget.confirm_top": 1,
        },
        export=False,
    )
    study = optuna.load_study(study_name=None, storage=default_storage_url(workspace))
    curves = [
        {"params": trial.params, "accuracies": [value for _, value in sorted(reports.items())]}
        for trial in study.trials
        if len(reports := trial.intermediate_values) == given.epochs
    ]
    of = (
        f"{given.data}, {given.epochs} epochs, batch {given.batch_size}, teachers of "
        f"{given.teacher_epochs} epochs"
    )
    return {"of": of, "curves": curves}


class Answers:
    """Learning curves of any settings, from those of some that were trained.

    Args:
        curves: Settings and validation accuracies by epoch, each of as many epochs.
    """

    def __init__(self, curves: Sequence[Mapping[str, Any]]) -> None:
        from sklearn.ensemble import RandomForestRegressor

        reached = np.array([curve["accuracies"] for curve in curves])
        self.epochs = reached.shape[1]
        self._forest = RandomForestRegressor(
            n_estimators=100, min_samples_leaf=2, oob_score=True, random_state=0
        )
        self._forest.fit(self._features([curve["params"] for curve in curves]), reached)
        self._differences = reached - self._forest.oob_prediction_
        spread = ((reached[:, -1] - reached[:, -1].mean()) ** 2).sum()
        #: Share of the final accuracies' variance that settings left out of a tree explain.
        self.explained = float(1 - (self._differences[:, -1] ** 2).sum() / spread)

    @staticmethod
    def _features(params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        return np.array(
            [
                [
                    item["temperature"],
                    item["alpha"],
                    np.log2(item["ffe_splits"]),
                    np.log(item["learning_rate"]),
                ]
                for item in params
            ]
        )

    def without_noise(self, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the best accuracy of each settings' expected curve, float ``(N,)``."""
        best: np.ndarray = self._forest.predict(self._features(params)).max(axis=1)
        return best

    def curve(self, params: Mapping[str, Any], seed: int) -> np.ndarray:
        """Return a noisy curve, float ``(epochs,)``; the same for the same settings and seed."""
        key = derive_seed(seed, "noise", *(str(params[name]) for name in sorted(params)))
        chosen = np.random.default_rng(key).integers(len(self._differences))
        expected = self._forest.predict(self._features([params]))[0]
        noisy: np.ndarray = np.clip(expected + self._differences[chosen], 0, 1)
        return noisy

    def best(self) -> float:
        """Return what the best of many random settings reaches without noise."""
        draw = np.random.default_rng(0)
        settings = [
            {"temperature": t, "alpha": a, "ffe_splits": n, "learning_rate": float(np.exp(rate))}
            for t, a, n, rate in zip(
                draw.uniform(1, 16, SAMPLE),
                draw.uniform(0.05, 0.95, SAMPLE),
                draw.choice([2, 4, 8], SAMPLE),
                draw.uniform(np.log(1e-3), np.log(0.3), SAMPLE),
                strict=True,
            )
        ]
        return float(self.without_noise(settings).max())


def chosen_by_epochs(
    trials: Sequence[FrozenTrial], values: Sequence[float], budget: int
) -> list[float]:
    """Return what a search would choose after each epoch that its trials went through.

    Args:
        trials: In order, one after another.
        values: What each one's settings are worth without noise.
        budget: Epochs to look at.

    Returns:
        ``budget`` values; until a trial is complete they are 0.
    """
    best, chosen, course = -1.0, 0.0, []
    for trial, value in zip(trials, values, strict=True):
        course += [chosen] * (len(trial.intermediate_values) - 1)
        if trial.state.name == "COMPLETE" and trial.value is not None and trial.value > best:
            best, chosen = trial.value, value
        course.append(chosen)
    return (course + [chosen] * budget)[:budget]


def compare(
    record: Recorder, given: argparse.Namespace, answers: Answers, folder: Path
) -> dict[tuple[str, str], np.ndarray]:
    """Search with each sampler and pruner; return what was chosen, ``(searches, epochs)``."""
    from fersearch.data import load_data

    data = load_data("synthetic:train=64,val=64,test=64,image_size=16", cache=folder / "cache")
    budget = given.budget * answers.epochs
    record.say(
        f"{given.searches} searches of each kind with {budget} epochs each; settings explain "
        f"{answers.explained:.0%} of the accuracy, the best reach {answers.best():.2%}"
    )
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(given.searches):
        for sampler in given.samplers:
            for pruner in PRUNERS:
                trials = _search(given, answers, data, folder, sampler, pruner, seed)
                values = answers.without_noise([trial.params for trial in trials])
                course = chosen_by_epochs(trials, list(values), budget)
                found.setdefault((sampler, pruner), []).append(course)
    courses = {kind: np.array(items) for kind, items in found.items()}
    _report(record, courses, answers)
    return courses


def _search(
    given: argparse.Namespace,
    answers: Answers,
    data: Dataset,
    folder: Path,
    sampler: str,
    pruner: str,
    seed: int,
) -> list[FrozenTrial]:
    """Run our search over the answers; return its trials."""
    import optuna

    from benchmarks.overhead_search import make_spec, our_search
    from fersearch.search.storage import default_storage_url
    from fersearch.spec import override

    # Without pruning a search trains all it may in so many trials.
    trials = given.budget if pruner == "none" else given.trials
    spec = make_spec(trials, answers.epochs, sampler=sampler, pruner=pruner)
    workspace = Path(tempfile.mkdtemp(dir=folder))
    noisy: dict[str, np.ndarray] = {}

    def curve(params: dict[str, Any], epoch: int) -> float:
        key = str(sorted(params.items()))
        if key not in noisy:
            noisy[key] = answers.curve(params, seed)
        return float(noisy[key][epoch])

    our_search(override(spec, {"search.seed": seed}), data, workspace, curve=curve)
    study = optuna.load_study(study_name=None, storage=default_storage_url(workspace))
    return study.get_trials(deepcopy=False)


def _report(
    record: Recorder, courses: Mapping[tuple[str, str], np.ndarray], answers: Answers
) -> None:
    near = answers.best() - NEAR
    for (sampler, pruner), course in courses.items():
        budget = course.shape[1]
        looked = [budget // 8, budget // 4, budget // 2, budget]
        reached = [100 * course[:, epochs - 1] for epochs in looked]
        shown = ", ".join(
            f"{statistics.mean(values):.2f} after {epochs}"
            for epochs, values in zip(looked, reached, strict=True)
        )
        spent = [_first(row >= near) for row in course]
        arrived = [epochs for epochs in spent if epochs is not None]
        middle = statistics.median(epochs if epochs is not None else budget for epochs in spent)
        record.say(
            f"  {sampler:<7}{pruner:<10} chosen settings reach {shown} epochs; within "
            f"{100 * NEAR:g} points of the best in {len(arrived)} of {len(course)}, "
            f"median epochs {middle:g}"
        )
        name = f"{sampler}, {pruner}"
        record.series[name], record.units[name] = list(reached[-1]), "% chosen, at the end"
        record.figures[name] = {
            "epochs": looked,
            "chosen": [list(values) for values in reached],
            "epochs_to_near_the_best": spent,
        }
    _compare_with_none(record, courses)
    record.figures["settings_explain"] = answers.explained
    record.figures["best_without_noise"] = answers.best()


def _compare_with_none(record: Recorder, courses: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Print what each pruner's choice gains over that of no pruning, search by search."""
    from scipy import stats

    for (sampler, pruner), course in courses.items():
        if pruner == "none" or len(course) < 2:
            continue
        for epochs in (course.shape[1] // 4, course.shape[1]):
            gain = 100 * (course - courses[sampler, "none"])[:, epochs - 1]
            half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / len(gain) ** 0.5
            mean = gain.mean()
            record.say(
                f"  {sampler}: {pruner} minus none after {epochs} epochs: {mean:+.2f} points "
                f"(95 % interval {mean - half:+.2f} to {mean + half:+.2f})"
            )


def _first(reached: np.ndarray) -> int | None:
    """Return how many epochs it took until something was reached, None where it never was.

    >>> _first(np.array([False, False, True, False]))
    3
    """
    return int(reached.argmax()) + 1 if reached.any() else None


def draw(axes: Axes, courses: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Draw the mean value of the chosen settings against the epochs spent."""
    for (sampler, pruner), course in courses.items():
        mean = 100 * course.mean(axis=0)
        axes.plot(
            np.arange(1, len(mean) + 1),
            np.where(mean > 0, mean, np.nan),
            LINES.get(sampler, "--"),
            color=COLOURS[pruner],
            label=f"{sampler}, {pruner}",
        )
    axes.set_xlabel("epochs trained in all trials")
    axes.set_ylabel("% accuracy of the chosen settings, without noise")
    lowest = min(100 * course.mean(axis=0)[course.shape[1] // 16] for course in courses.values())
    axes.set_ylim(bottom=lowest)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
