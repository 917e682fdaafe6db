"""Options that several commands share, and how they change a study file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = [
    "SETTINGS",
    "TERMS",
    "Setting",
    "json_option",
    "place_options",
    "setting_options",
    "study_options",
    "take_settings",
    "workspace_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])
# Option, its setting in the study file, its type and help.
Setting = tuple[str, str, Any, str]


def _jobs(context: click.Context, parameter: click.Parameter, value: int | None) -> int:
    """Refuse numbers of jobs below 1; 0 stands for the default."""
    if value is not None and value < 1:
        raise click.BadParameter(f"jobs must be at least 1 but got {value}")
    return value or 0


def _vectorize(context: click.Context, parameter: click.Parameter, value: str) -> int | str:
    """Take ``auto`` or a number of at least 1."""
    if value == "auto":
        return value
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter(f"vectorize must be auto or at least 1 but got {value}")
    return int(value)


def workspace_option(function: Command) -> Command:
    """Add ``--workspace``."""
    return click.option(
        "--workspace",
        metavar="DIR",
        help="Folder of everything written [$FERSEARCH_WORKSPACE, else ./workspace].",
    )(function)


def json_option(function: Command) -> Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="The result as JSON on stdout, nothing else there."
    )(function)


# Shown in this order.
SETTINGS: list[Setting] = [
    ("--trials", "budget.trials", int, "Finished trials in all; more continue the study."),
    ("--epochs", "budget.epochs", int, "Epochs of a trial and of the final student."),
    ("--batch-size", "budget.batch_size", int, "Images per step."),
    ("--seeds", "budget.seeds", int, "Seeds of the confirmation and the test."),
    ("--confirm-top", "budget.confirm_top", int, "Settings confirmed over the seeds."),
    ("--teacher-epochs", "budget.teacher_epochs", int, "Epochs of each teacher."),
    (
        "--student",
        "training.students",
        tuple,
        "timm name of the student [shufflenet_v2_x1_0]; several, or a pattern, are searched.",
    ),
    ("--recipe", "training.recipe", str, "default, or paper: the paper's own, literally."),
    ("--loss", "training.loss", str, "kd, dkd, logit_std or dist; all searches the loss as well."),
    ("--dropout", "training.dropout", float, "Dropout before the classifier."),
    ("--label-smoothing", "training.label_smoothing", float, "Smoothing of the hard labels."),
    ("--teacher", "teacher.model", str, "timm name of the teacher [eff_resnet18]."),
    ("--sampler", "search.sampler", str, "tpe, gp, random or nsga2."),
    ("--pruner", "search.pruner", str, "hyperband, median or none."),
    (
        "--patience",
        "search.patience",
        int,
        "End the search after this many trials in a row without a better one.",
    ),
    (
        "--objective",
        "search.metric",
        tuple,
        "Validation metric to maximise: accuracy or macro_f1; again with latency, macs, params or "
        "file_mb for a Pareto search.",
    ),
    (
        "--max-latency-ms",
        "search.max_latency_ms",
        float,
        "Slowest student to take from the front of a Pareto search.",
    ),
    (
        "--input-size",
        "space.input_size",
        tuple,
        "Size in pixels that the student works at; several are searched.",
    ),
    ("--image-size", "data.image_size", int, "Side of the images in pixels [the data's own]."),
    ("--seed", "search.seed", int, "Seed of the study; all random numbers follow from it."),
]


# Those that a run of baselines shares with a study.
TERMS = [
    row
    for row in SETTINGS
    if row[1]
    in {
        "budget.epochs",
        "budget.batch_size",
        "budget.seeds",
        "training.recipe",
        "training.dropout",
        "training.label_smoothing",
        "search.metric",
        "search.sampler",
        "search.pruner",
        "search.seed",
        "data.image_size",
    }
]


def _key(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def place_options(function: Command) -> Command:
    """Add where and how something runs: data, names, stores, device, jobs, output."""
    plain: list[Callable[[Command], Command]] = [
        click.option(
            "--data", metavar="DATA", help="synthetic[:train=4000,...] or your faces' path."
        ),
        click.option("--name", default="", help="Name in the workspace [distill, baselines, ...]."),
        click.option("--storage", default="", metavar="URL", help="Optuna storage [SQLite]."),
        click.option("--tracking-uri", metavar="URI", help="MLflow tracking [SQLite]."),
        click.option("--no-track", is_flag=True, help="Do not write to MLflow."),
        click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models."),
        click.option("--device", default="auto", help="auto, cpu or cuda."),
        click.option("--jobs", type=int, callback=_jobs, help="Runs at a time [one per core]."),
        click.option("--threads", type=int, default=0, help="CPU threads of each run."),
        click.option("--quiet", is_flag=True, help="Nothing but the result."),
    ]
    for decorate in reversed(plain):
        function = decorate(function)
    return function


def setting_options(rows: list[Setting]) -> Callable[[Command], Command]:
    """Add the options that change a study file's settings."""

    def add(function: Command) -> Command:
        for option, _, kind, text in reversed(rows):
            if kind is tuple:
                metavar = "PX" if option.endswith("-size") else "NAME"
                function = click.option(option, multiple=True, metavar=metavar, help=text)(function)
            else:
                function = click.option(option, type=kind, help=text)(function)
        return function

    return add


def study_options(function: Command) -> Command:
    """Add the options that ``fersearch study`` takes."""
    for decorate in (
        click.option("--timeout", type=float, metavar="SECONDS", help="Start no trial after this."),
        click.option(
            "--vectorize",
            default="auto",
            metavar="K",
            callback=_vectorize,
            help="Trials trained in one program: auto, 1, or K [auto: 1 on a CPU].",
        ),
        click.option("--compile", is_flag=True, help="torch.compile the steps: for long studies."),
        click.option("--teacher-weights", metavar="FILE", help="Initial weights of the teachers."),
        click.option(
            "--export/--no-export",
            default=True,
            help="Write the student's ONNX files, where the extra is installed [yes].",
        ),
    ):
        function = decorate(function)
    return json_option(workspace_option(setting_options(SETTINGS)(place_options(function))))


def _objectives(names: tuple[str, ...]) -> dict[str, object]:
    """Sort the objectives into the metric to maximise and the costs to minimise."""
    from fersearch.errors import InputError, suggestion
    from fersearch.spec import COSTS, METRICS

    for name in names:
        if name not in (*METRICS, *COSTS):
            raise InputError(f"unknown objective {name!r}", suggestion(name, (*METRICS, *COSTS)))
    metrics = [name for name in names if name in METRICS]
    if len(set(metrics)) > 1:
        raise InputError(
            f"there can be one validation metric, not {len(metrics)}: {', '.join(metrics)}",
            f"beside it, minimise some of {', '.join(COSTS)}",
        )
    settings: dict[str, object] = {"search.metric": metrics[0]} if metrics else {}
    costs = tuple(dict.fromkeys(name for name in names if name in COSTS))
    if costs:
        settings["search.costs"] = costs
    return settings


def _pixels(text: str) -> int:
    from fersearch.errors import InputError

    if not text.isdigit():
        raise InputError(f"--input-size takes a number of pixels, got {text!r}")
    return int(text)


def take_settings(given: dict[str, Any], rows: list[Setting]) -> dict[str, object]:
    """Take the study file's settings out of the parsed options; those not given stay out.

    The seed of the teachers follows the study's.
    """
    settings: dict[str, object] = {}
    for option, path, _, _ in rows:
        value = given.pop(_key(option))
        if value is None or value == ():
            continue
        if path == "search.metric":
            settings |= _objectives(value)
        elif path == "space.input_size":
            settings[path] = {"kind": "categorical", "choices": [_pixels(item) for item in value]}
        else:
            settings[path] = value
    if "search.seed" in settings:
        settings["teacher.seed"] = settings["search.seed"]
    return settings
