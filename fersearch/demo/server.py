"""Listens on the loopback address and serves the page until it is told to stop."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fersearch.align.faces import FaceFinder
from fersearch.deploy.model_info import Predictor
from fersearch.errors import InputError

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

__all__ = ["ADDRESS", "DEFAULT_PORT", "listen", "make_config", "serve"]

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8600

# More connections than one page ever opens; what exceeds them is refused at once.
MOST_CONNECTIONS = 32


def listen(port: int | None = None) -> socket.socket:
    """Take a port of 127.0.0.1; browsers may connect from then on and wait for :func:`serve`.

    Args:
        port: The port, 0 for any free one. None takes :data:`DEFAULT_PORT`, and any free one
            where that is taken.

    Returns:
        The listening socket.

    Raises:
        InputError: The port is taken, or may not be used by this user.
    """
    wanted = DEFAULT_PORT if port is None else port
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind((ADDRESS, wanted))
            listener.listen(MOST_CONNECTIONS)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port is not None:
                raise
            # A socket that failed to listen stays bound: a fresh one is needed.
            listener.close()
            return listen(0)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on port {wanted}: {error.strerror}",
            "name another --port, or 0 for any free one",
        ) from error
    return listener


def make_config(app: Starlette) -> uvicorn.Config:
    """Return how uvicorn serves the page: bounded in connections and in waiting.

    Args:
        app: From :func:`fersearch.demo.make_app`.
    """
    import uvicorn

    from fersearch.demo.connections import PromptProtocol

    return uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        # Nothing stands between the browser and this server whose word could be taken.
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )


def serve(
    models: Sequence[Predictor],
    finder: FaceFinder | None,
    *,
    listener: socket.socket,
    no_finder: str = "",
    threads: int = 0,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM, which both are its normal end.

    Args:
        models: One model, or two to compare.
        finder: What finds faces; without it a picture is one face.
        listener: What :func:`listen` returned; closed in the end.
        no_finder: Why there is no finder, and what to do about it.
        threads: CPU threads that each model was opened with, for the page to say; 0 for unknown.

    Raises:
        InputError: There are no models or more than two, or uvicorn or Starlette is missing.
    """
    from fersearch.demo.app import make_app

    port = int(listener.getsockname()[1])
    try:
        app = make_app(models, finder, port=port, no_finder=no_finder, threads=threads)
        import uvicorn

        config = make_config(app)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            # uvicorn has already shut down in order and repeats the signal for its callers.
            return
    finally:
        listener.close()
