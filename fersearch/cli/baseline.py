"""``fersearch baseline``: the models that a distilled student is compared with."""

from __future__ import annotations

import json
from typing import Any

import click

from fersearch.cli.display import shown_path
from fersearch.cli.options import (
    TERMS,
    json_option,
    place_options,
    setting_options,
    workspace_option,
)
from fersearch.cli.running import run_and_print

__all__ = ["baseline"]


@click.group()
def baseline() -> None:
    """Train and test the models that a distilled student is compared with.

    \b
        fersearch baseline run                      all four, one recipe, on the drawn faces
        fersearch baseline run --study distill      on the data and terms of that study
        fersearch baseline run resnet18 --budget tuned --trials 10

    Every baseline sees the same images, views, epochs and seeds as a study, and the test split
    once. Running the same command again continues where it stopped.
    """


@baseline.command("list")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own baselines.")
@json_option
def list_all(plugins: tuple[str, ...], as_json: bool) -> None:
    """List the baselines: name, title, source, what deviates from it."""
    from fersearch.api.setup import load_plugins
    from fersearch.models import list_baselines

    load_plugins(plugins)
    entries = list_baselines()
    if as_json:
        rows = [
            {
                "name": entry.name,
                "title": entry.title,
                "source": entry.source,
                "companion": entry.companion,
                "notes": list(entry.notes),
            }
            for entry in entries
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for entry in entries:
        print(f"{entry.name}: {entry.title}. {entry.source}")
        for note in entry.notes:
            print(f"    {note}")


@baseline.command("run")
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--study", default="", metavar="NAME", help="Take data and terms of this study.")
@click.option(
    "--budget", default="fixed", help="fixed: one recipe for all; tuned: each is searched."
)
@click.option("--trials", type=int, help="Trials of each baseline, with tuned [8].")
@click.option(
    "--learning-rate",
    type=float,
    help="Learning rate of the fixed recipe; the first that tuned tries [0.05].",
)
@setting_options(TERMS)
@place_options
@workspace_option
@json_option
def run_all(names: tuple[str, ...], **given: Any) -> None:
    """Train baselines over the seeds and test each once; all four without a NAME.

    With --budget tuned, learning rate and weight decay of every baseline are searched on
    validation with the same number of trials first: a fair comparison tunes both sides.
    """
    result = run_and_print("run_baselines", names, given=given, rows=TERMS)
    if result is None:
        return
    print(f"\nresult  {shown_path(result.folder / 'result.json')}")
    print("compare with: fersearch report leaderboard")
