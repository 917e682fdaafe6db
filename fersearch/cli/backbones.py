"""``fersearch study backbones``: one study for each of several students, and one table."""

from __future__ import annotations

from typing import Any

import click

from fersearch.cli.display import shown_path
from fersearch.cli.options import SETTINGS, study_options
from fersearch.cli.running import run_and_print

__all__ = ["backbones_command", "has_students"]

HELP = """Run the same study once for each of several students, and compare them.

Every student has a search of its own: the same space, number of trials, epochs, seeds, sampler,
views and soft labels. The teachers are trained once, and their soft labels replayed to all. Each
student is tested once; one that cannot be trained is named with the reason, and the others go on.
At the end there is one table, and a page with the Pareto plots in reports/NAME.

\b
    fersearch study backbones                                  the students of the study file
    fersearch study backbones --student ghostnet_100 --student 'mobilenetv3_*' --max-params 6M
    fersearch study backbones --trials 40                      more trials for each of the first

Names and patterns are timm's (*, ?, [...]), or those of a --plugin. The studies are called
NAME-STUDENT. Running the same command again continues each; those that are finished take no time.
"""


def has_students(name: str) -> bool:
    """Tell whether a study file runs once for each of several students.

    One that cannot be read does not: running it says what is wrong with it.
    """
    from fersearch.errors import InputError
    from fersearch.spec import load_study

    try:
        return bool(load_study(name).training.students)
    except InputError:
        return False


def backbones_command(name: str) -> click.Command:
    """Return the command that runs the study file ``name`` for several students."""

    @click.command(name=name, help=HELP)
    @study_options
    @click.option("--max-params", metavar="N", help="Most parameters of a student: 6M, 500k, 6e6.")
    @click.option("--max-macs", metavar="N", help="Most multiply-accumulates of one image: 50M.")
    @click.option(
        "--latency/--no-latency", default=True, help="Measure latencies for the page [yes]."
    )
    def command(**given: Any) -> None:
        run(name, given)

    for parameter in command.params:
        if parameter.name == "student" and isinstance(parameter, click.Option):
            parameter.help = "timm name of a student, or a pattern; may be given several times."
    return command


def run(study_name: str, given: dict[str, Any]) -> None:
    """Run the study with the parsed options and print its table."""
    result = run_and_print("run_backbones", study_name, given=given, rows=SETTINGS)
    if result is None:
        return
    print(f"\nreport  {shown_path(result.report)}")
    if result.page is not None:
        print(f"page    {shown_path(result.page)}")
