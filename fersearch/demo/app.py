"""The web application: a page, its style and scripts, and one address that classifies a picture."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fersearch.align.faces import FaceFinder
from fersearch.demo.bench import Bench, Wish
from fersearch.demo.desk import Desk
from fersearch.demo.guard import HEADERS, Guard
from fersearch.demo.page import ASSETS, ShownModel, asset, page_html
from fersearch.demo.refusal import RefusedError
from fersearch.deploy.model_info import Predictor
from fersearch.errors import FersearchError, InputError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["make_app"]

Endpoint = Callable[["Request"], Awaitable["Response"]]


def make_app(
    models: Sequence[Predictor],
    finder: FaceFinder | None,
    *,
    port: int,
    no_finder: str = "",
    threads: int = 0,
    token: str = "",
) -> Starlette:
    """Return the application; it answers to 127.0.0.1 and localhost with ``port`` alone.

    One thread of its own runs finder and models, one picture at a time, so that the page stays
    responsive and nothing that is not made for it runs twice at once. Bytes and pixels of pictures
    stay in memory until they are answered, and are neither written nor logged.

    Args:
        models: One model, or two to compare.
        finder: What finds faces; without it a picture is one face.
        port: The port that it will be served at.
        no_finder: Why there is no finder, and what to do about it; shown in the page.
        threads: CPU threads that each model was opened with, for the page to say; 0 for unknown.
        token: What requests for work must bring; by default a fresh random one.

    Raises:
        InputError: There are no models or more than two, or Starlette is missing.
    """
    if not 1 <= len(models) <= 2:
        raise InputError(f"the demo shows one model or two, not {len(models)}")
    try:
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.middleware import Middleware
        from starlette.routing import Route
    except ImportError as error:
        raise InputError(
            "the demo needs Starlette and uvicorn, which MLflow brings along",
            "pip install starlette uvicorn",
        ) from error

    secret = token or secrets.token_urlsafe(32)
    desk = Desk(bench := Bench(models, finder))
    # The first run of a network is slower than all others: it is no visitor's.
    shown = [
        ShownModel(info=model.info, runtime=model.runtime, has_cam=has_cam, threads=threads)
        for model, has_cam in zip(models, desk.run(bench.warm_up), strict=True)
    ]
    html = page_html(shown, token=secret, finder=finder, no_finder=no_finder)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    files = {"/": (html, "text/html"), **{f"/{name}": asset(name) for name in ASSETS}}
    return Starlette(
        routes=[
            *(Route(path, _file(text, kind)) for path, (text, kind) in files.items()),
            Route("/classify", _classify(desk), methods=["POST"]),
        ],
        middleware=[Middleware(Guard, port=port, token=secret)],
        exception_handlers={
            HTTPException: _on_http_error,
            FersearchError: _on_our_error,
            Exception: _on_error,
        },
        lifespan=lifespan,
    )


def _file(text: str, kind: str) -> Endpoint:
    """Return what answers with a text that is always the same."""

    async def endpoint(_: Request) -> Response:
        from starlette.responses import Response

        return Response(text, media_type=kind)

    return endpoint


def _classify(desk: Desk) -> Endpoint:
    """Return what answers a picture with its faces and their classes."""

    async def endpoint(request: Request) -> Response:
        from starlette.requests import ClientDisconnect

        asked = request.query_params
        wish = Wish(
            whole=asked.get("faces") == "whole",
            cam=asked.get("cam") == "1",
            preview=asked.get("preview") == "1",
        )
        try:
            answer = await desk.answer(request.stream(), wish)
        except ClientDisconnect:
            return _error(400, "the picture did not arrive whole")
        return _json(answer.as_json())

    return endpoint


async def _on_http_error(_: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 500))
    known = {404: "there is nothing here", 405: "this address is asked in another way"}
    return _error(status, known.get(status, str(getattr(error, "detail", error))))


async def _on_our_error(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 500
    return _error(status, str(error))


async def _on_error(_: Request, error: Exception) -> Response:
    """Answer what nobody expected; it stands outside the guard, which adds its headers otherwise.

    The server writes the traceback to the terminal; it holds no values, so no pixels either.
    """
    return _error(500, f"unexpected {type(error).__name__}", headers=True)


def _error(status: int, text: str, *, headers: bool = False) -> Response:
    response = _json({"error": " ".join(text.split())}, status=status)
    if headers:
        response.headers.update(HEADERS)
    if status == 429:
        response.headers["Retry-After"] = "1"
    return response


def _json(content: object, *, status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(content, status_code=status)
