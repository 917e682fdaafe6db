"""``fersearch doctor``: what is installed, which device, what would be slow, what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fersearch.cli.options import json_option, workspace_option

__all__ = ["doctor"]

MARKS = {"ok": "ok  ", "warn": "warn", "missing": "none"}


@click.command()
@click.option("--storage", metavar="URL", help="Study storage to try [the workspace's].")
@click.option("--tracking-uri", metavar="URI", help="MLflow tracking to try [the workspace's].")
@workspace_option
@json_option
def doctor(
    storage: str | None, tracking_uri: str | None, workspace: str | None, as_json: bool
) -> None:
    """Check this machine: libraries, device, memory, disk, storage, tracking."""
    import os

    from fersearch.doctor import diagnose
    from fersearch.errors import FersearchError
    from fersearch.records import to_plain

    home = Path(workspace or os.environ.get("FERSEARCH_WORKSPACE") or "workspace")
    diagnosis = diagnose(home, storage=storage, tracking_uri=tracking_uri)
    if as_json:
        print(json.dumps({"ready": diagnosis.ready, **to_plain(diagnosis)}, indent=2))
    else:
        width = max(len(check.name) for check in diagnosis.checks)
        for check in diagnosis.checks:
            hint = f"  ({check.hint})" if check.hint else ""
            print(f"{MARKS[check.status]}  {check.name:<{width}}  {check.message}{hint}")
    if not diagnosis.ready:
        missing = [
            check.name
            for check in diagnosis.checks
            if check.essential and check.status == "missing"
        ]
        raise FersearchError(
            f"training cannot start: {', '.join(missing)} missing", "pip install fersearch"
        )
    if not as_json:
        print("ready: fersearch study distill --trials 50")
