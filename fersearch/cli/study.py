"""``fersearch study``: run a shipped study or a file of one's own; list and show what was run."""

from __future__ import annotations

import json
from typing import Any

import click

from fersearch.cli.backbones import backbones_command, has_students
from fersearch.cli.display import shown_path
from fersearch.cli.options import (
    SETTINGS,
    json_option,
    study_options,
    workspace_option,
)
from fersearch.cli.running import run_and_print

__all__ = ["study"]


class StudyGroup(click.Group):
    """Takes shipped studies and study files as its commands."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the shipped studies and the commands about studies."""
        from fersearch.plugins import list_shipped

        return [*list_shipped("studies", ".toml"), *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of a shipped study, of a file, or about studies."""
        command = super().get_command(context, name)
        if command is not None:
            return command
        from fersearch.plugins import list_shipped

        if name in list_shipped("studies", ".toml") or name.endswith(".toml"):
            several = has_students(name)
            return backbones_command(name) if several else _study_command(name)
        return None

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name what is near when a study is unknown."""
        if self.get_command(context, args[0]) is None:
            from fersearch.errors import InputError, suggestion

            known = self.list_commands(context)
            raise InputError(
                f"there is no study or command {args[0]!r}",
                suggestion(args[0], known) or f"known: {', '.join(known)}",
            )
        return super().resolve_command(context, args)


@click.group(cls=StudyGroup)
def study() -> None:
    """Search for the best distilled student, confirm it over seeds, test it once.

    A study is a shipped one (distill, ablation, backbones) or a TOML file of your own:

    \b
        fersearch study distill --trials 50
        fersearch study backbones --student mobilenetv3_small_100 --student 'shufflenet_v2_*'
        fersearch study ./mine.toml --data faces/

    Running the same command again continues the study; a larger --trials extends it.
    """


HELP = """Search temperature T, balance alpha, FFE splits n of the teacher and the learning rate.

Teachers are trained once for each n and cached; their soft labels are computed once and
replayed, so a trial costs little more than the student's own training. The best settings are
then trained again over fresh seeds, beside the same student without a teacher; the test split
is opened once, at the end.

\b
    fersearch study distill --trials 50                    drawn faces, half an hour, two cores
    fersearch study distill --data fer2013.csv --name fer  real faces
    fersearch study distill --trials 80                    thirty more trials for the first one
    fersearch study distill --name small --objective accuracy --objective latency \\
        --student 'shufflenet_v2_*' --input-size 32 --input-size 48       accuracy against latency
"""


def _study_command(name: str) -> click.Command:
    @click.command(name=name, help=HELP if name == "distill" else f"Run the study {name}.")
    @study_options
    @click.option(
        "--warm-start", metavar="NAME", help="Try the best settings of an earlier study first."
    )
    def command(**given: Any) -> None:
        run(name, given)

    return command


def run(study_name: str, given: dict[str, Any]) -> None:
    """Run a study with the parsed options and print its result."""
    result = run_and_print("run_study", study_name, given=given, rows=SETTINGS)
    if result is None:
        return
    print(f"\nreport  {shown_path(result.report)}")
    if result.model is not None:
        print(f"model   {shown_path(result.model)}")


def _open(workspace: str | None, storage: str) -> Any:
    from fersearch.api import default_workspace
    from fersearch.errors import InputError
    from fersearch.search import default_storage_url, open_storage

    home = default_workspace(workspace).expanduser().resolve()
    if not storage and not (home / "optuna.db").exists():
        raise InputError(
            f"there is no study in the workspace {home}",
            "run: fersearch study distill, or name another --workspace",
        )
    return home, open_storage(storage or default_storage_url(home), lock=home / "optuna.lock")


@study.command("list")
@click.option("--storage", default="", metavar="URL", help="Optuna storage [the workspace's].")
@workspace_option
@json_option
def list_studies(workspace: str | None, storage: str, as_json: bool) -> None:
    """List the studies of a workspace: trials, best value, state."""
    from fersearch.search.overview import study_overviews

    home, store = _open(workspace, storage)
    rows = study_overviews(store, home)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from fersearch.report.text import plain_table

    header = ("study", "state", "complete", "pruned", "failed", "best validation")
    cells = [
        (
            str(row["name"]),
            str(row["state"]),
            *(str(row["trials"].get(state, "-")) for state in ("complete", "pruned", "failed")),
            "-" if row["best_value"] is None else f"{row['best_value']:.1%}",
        )
        for row in rows
    ]
    print(plain_table(header, cells))


@study.command("show")
@click.argument("name")
@click.option("--storage", default="", metavar="URL", help="Optuna storage [the workspace's].")
@click.option(
    "--max-latency-ms",
    type=float,
    help="The point of a Pareto search's front to take under this limit.",
)
@workspace_option
@json_option
def show_study(
    name: str, workspace: str | None, storage: str, max_latency_ms: float | None, as_json: bool
) -> None:
    """Show a study: its result, or how far it is."""
    from fersearch.search.overview import study_detail

    home, store = _open(workspace, storage)
    detail = study_detail(store, home, name)
    if max_latency_ms is not None:
        _show_point(detail, max_latency_ms, as_json=as_json)
        return
    if as_json:
        print(json.dumps(detail, indent=2, ensure_ascii=False))
        return
    if detail["result"] is not None:
        print(_result_text(detail["result"]))
        return
    counts = detail["trials"]
    print(
        f"{name}: {detail['state']}, {counts['complete']} trials complete, "
        f"{counts['pruned']} pruned, {counts['failed']} failed, {counts['running']} running"
    )
    if detail["best_value"] is not None:
        params = " ".join(f"{key}={value}" for key, value in detail["best_params"].items())
        print(f"best validation so far: {detail['best_value']:.1%} with {params}")


def _result_text(result: dict[str, Any]) -> str:
    """Return the table of a finished study, a grid or a study of several students."""
    from fersearch.report import backbones_text, grid_text, summary_text

    if "students" in result:
        return backbones_text(result)
    return grid_text(result) if "cells" in result else summary_text(result)


def _show_point(detail: dict[str, Any], limit: float, *, as_json: bool) -> None:
    """Print the point of a front to take under a limit on the latency."""
    from fersearch.errors import InputError
    from fersearch.report import under_limit

    if detail["result"] is None:
        raise InputError(f"the study {detail['name']} is not finished", "continue it first")
    point = under_limit(detail["result"], limit)
    if as_json:
        print(json.dumps(point, indent=2, ensure_ascii=False))
        return
    params = " ".join(f"{key}={value}" for key, value in point["params"].items())
    figure = point["costs"]["latency"]
    print(f"trial {point['trial']}: {params}")
    print(f"latency {figure['p50']:.3g} ms (p50, {figure['runtime']})")
    for label, value in (
        ("validation, one seed", next(iter(point["values"].values()))),
        ("validation, confirmed", point["confirmed"]),
        ("test", point["test_accuracy"]),
    ):
        print(f"{label}: {'not measured' if value is None else f'{value:.2%}'}")
