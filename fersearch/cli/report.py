"""``fersearch report``: tables and pages from the tracked runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fersearch.cli.display import shown_path
from fersearch.cli.options import json_option, workspace_option

__all__ = ["report"]

Command = TypeVar("Command", bound=Callable[..., Any])


def report_options(function: Command) -> Command:
    """Add what both reports take."""
    plain: list[Callable[[Command], Command]] = [
        click.argument("studies", nargs=-1, metavar="[STUDY ...]"),
        click.option(
            "--format",
            "formats",
            default="html,md,csv,json,tex",
            metavar="LIST",
            help="Some of html,md,csv,json,tex [all].",
        ),
        click.option("--out", metavar="DIR", help="Folder to write to [reports/NAME]."),
        click.option("--name", help="Name of the report in the workspace."),
        click.option("--tracking-uri", metavar="URI", help="MLflow tracking [the workspace's]."),
        click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models."),
        click.option("--quiet", is_flag=True, help="Nothing but the result."),
    ]
    for decorate in reversed(plain):
        function = decorate(function)
    return json_option(workspace_option(function))


@click.group()
def report() -> None:
    """Write comparison tables and pages from the tracked runs.

    \b
        fersearch report leaderboard           every tested model, with intervals and tests
        fersearch report paper                 the paper's tables, claimed beside measured

    Everything comes from MLflow: the workspace's other files may be gone.
    """


@report.command("leaderboard")
@click.option(
    "--latency/--no-latency", default=True, help="Measure latencies that are missing [yes]."
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME",
    help="Latency in onnxruntime, onnxruntime-int8, eager, openvino, openvino-int8 or a plug-in's "
    "runtime; may be repeated, the first is the main one [onnxruntime, onnxruntime-int8].",
)
@report_options
def write_leaderboard(latency: bool, runtimes: tuple[str, ...], **given: Any) -> None:
    """Write the leaderboard of all tracked studies and baselines, or of the named ones."""
    from fersearch.cli.display import Display

    as_json, given = _given(given, default_name="leaderboard")
    with Display(quiet=given.pop("quiet") or as_json) as display:
        display.line("starting")
        from fersearch.api.reports import leaderboard
        from fersearch.report.leaderboard.formats import leaderboard_json
        from fersearch.report.leaderboard.text import leaderboard_text

        result = leaderboard(latency=latency, runtimes=runtimes, tell=display.line, **given)
    _warn(result.warnings)
    if as_json:
        print(json.dumps(leaderboard_json(result.content), indent=2, ensure_ascii=False))
        return
    print(leaderboard_text(result.content))
    _files(result.files)


@report.command("paper")
@report_options
def write_paper(**given: Any) -> None:
    """Write the paper's Tables I-IV and Figure 6, claimed beside measured, with verdicts."""
    from fersearch.cli.display import Display

    as_json, given = _given(given, default_name="paper")
    with Display(quiet=given.pop("quiet") or as_json) as display:
        display.line("starting")
        from fersearch.api.reports import paper
        from fersearch.report.paper.formats import paper_json
        from fersearch.report.paper.text import paper_text

        result = paper(tell=display.line, **given)
    _warn(result.warnings)
    if as_json:
        print(json.dumps(paper_json(result.content), indent=2, ensure_ascii=False))
        return
    print(paper_text(result.content))
    _files(result.files)


def _given(given: dict[str, Any], *, default_name: str) -> tuple[bool, dict[str, Any]]:
    """Return whether JSON is wanted, and the options as the API takes them."""
    as_json = given.pop("as_json")
    formats = [item.strip() for item in given.pop("formats").split(",") if item.strip()]
    command = click.get_current_context().obj or ""
    name = given.pop("name") or default_name
    return as_json, {**given, "formats": formats, "command": command, "name": name}


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _files(files: tuple[Path, ...]) -> None:
    print()
    for path in files:
        print(shown_path(path))
