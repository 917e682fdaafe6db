"""What the commands that train have in common: a display, the call, warnings, JSON or a table."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from fersearch.cli.options import Setting, take_settings

__all__ = ["run_and_print"]


def run_and_print(
    function: str, *names: Any, given: dict[str, Any], rows: list[Setting]
) -> Any | None:
    """Call a function of :mod:`fersearch.api` that trains, and print what it returns.

    Args:
        function: Its name; its module is loaded once something is on the screen.
        *names: What it runs.
        given: The parsed options.
        rows: Those of them that are settings of the study file.

    Returns:
        The result, for lines to be added below its table; None after ``--json``, where nothing
        else may be printed.
    """
    from fersearch.cli.display import Display

    settings = take_settings(given, rows)
    as_json, quiet = given.pop("as_json"), given.pop("quiet")
    track = not given.pop("no_track")
    with Display(quiet=quiet or as_json) as display:
        display.line("starting: loading PyTorch and the data")
        from fersearch import api

        result = getattr(api, function)(
            *names,
            settings=settings,
            track=track,
            listener=display.study,
            on_decode=display.decoding,
            on_data=display.data,
            command=click.get_current_context().obj or "",
            **given,
        )
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(result.content, indent=2, ensure_ascii=False))
        return None
    print(result)
    return result
