"""``fersearch demo``: a page on this machine that runs a model on pictures and the webcam."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from fersearch.cli.options import workspace_option

if TYPE_CHECKING:
    from fersearch.align.faces import FaceFinder

__all__ = ["demo"]


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--compare", metavar="MODEL", help="A second model, beside the first.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 for any [8600, else any].")
@click.option("--face-model", metavar="FILE", help="Face detector [OpenCV's own cascades].")
@click.option("--threads", type=click.IntRange(1), default=1, help="CPU threads of each model [1].")
@click.option("--open/--no-open", "show", default=None, help="Open a browser [on a desktop].")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models.")
@workspace_option
def demo(
    model: str,
    compare: str | None,
    port: int | None,
    face_model: str | None,
    threads: int,
    show: bool | None,
    plugins: tuple[str, ...],
    workspace: str | None,
) -> None:
    """Show what a model says of pictures and of the webcam, on a page of this machine.

    \b
        fersearch demo distill
        fersearch demo model.onnx --compare workspace/cache/teachers/ID

    MODEL is an ONNX file, a saved network's folder, or a study in the workspace. The page answers
    to this machine alone, loads nothing from elsewhere and keeps no picture. Ctrl-C ends it.
    """
    from fersearch.demo import DEFAULT_PORT, listen, serve
    from fersearch.deploy.opening import open_model

    # First of all: whoever has to name another port should not wait for models before.
    listener = listen(port)
    with listener:
        if plugins:
            from fersearch.plugins import load_plugin

            for plugin in plugins:
                load_plugin(plugin)
        names = [model] if compare is None else [model, compare]
        models = [open_model(name, workspace=workspace, threads=threads) for name in names]
        if any(opened.runtime == "pytorch" for opened in models):
            import torch

            torch.set_num_threads(threads)
        finder, no_finder = _open_finder(face_model)
        taken = int(listener.getsockname()[1])
        address = f"http://127.0.0.1:{taken}/"
        if port is None and taken != DEFAULT_PORT:
            print(f"note: port {DEFAULT_PORT} is taken", file=sys.stderr)
        if no_finder:
            print(f"note: every picture is taken as one face: {no_finder}", file=sys.stderr)
        print(f"{' beside '.join(opened.info.title for opened in models)}: {address}")
        print("Ctrl-C ends it", flush=True)
        if _has_desktop() if show is None else show:
            import webbrowser

            # The browser's request waits in the listener until the server takes it.
            webbrowser.open(address)
        serve(models, finder, listener=listener, no_finder=no_finder, threads=threads)


def _open_finder(face_model: str | None) -> tuple[FaceFinder | None, str]:
    """Return what finds faces, or None and why there is nothing.

    Raises:
        InputError: A face detector was named and cannot be used.
    """
    from pathlib import Path

    from fersearch.align import open_finder
    from fersearch.errors import InputError

    try:
        return open_finder(None if face_model is None else Path(face_model).expanduser()), ""
    except InputError as error:
        if face_model is not None:
            raise
        return None, str(error)


def _has_desktop() -> bool:
    """Return whether a browser would open in a window: others would take the terminal."""
    window = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.stdout.isatty() and (sys.platform == "darwin" or bool(window))
