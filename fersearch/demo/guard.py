"""Who may ask: this machine's own pages alone, with the token that the page carries.

A server on the loopback address can still be reached by any page that the browser shows: by a
request across origins, or under a foreign name that is made to point here (DNS rebinding). So
every request must name this host, and whatever does work must come from the page itself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "TOKEN_HEADER", "Guard", "hosts_of"]

TOKEN_HEADER = "X-Fersearch-Token"

# Content Security Policy Level 3, Permissions Policy and Fetch (W3C, WHATWG).
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer carries."""


def hosts_of(port: int) -> frozenset[str]:
    """Return what the Host header may be.

    >>> sorted(hosts_of(8600))
    ['127.0.0.1:8600', 'localhost:8600']
    """
    names = ("127.0.0.1", "localhost")
    return frozenset({f"{name}:{port}" for name in names} | (set(names) if port == 80 else set()))


class Guard:
    """ASGI middleware that refuses foreign requests and adds :data:`HEADERS` to every answer.

    Args:
        app: What it stands before.
        port: The port of the server.
        token: What requests other than GET and HEAD must bring in :data:`TOKEN_HEADER`.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app = app
        self._hosts = hosts_of(port)
        self._token = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or refuse it with one line of JSON."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Replaced, not appended: two policies would both hold.
                kept = [pair for pair in message["headers"] if pair[0].lower() not in _LOWER]
                message["headers"] = [*kept, *_ENCODED]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
            return
        status, text = refusal
        body = json.dumps({"error": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send_guarded({"type": "http.response.start", "status": status, "headers": headers})
        await send_guarded({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return why a request is refused: an HTTP status and a line; None when it is not."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        host = _only(headers, b"host")
        if host not in self._hosts:
            return 421, "this server answers to 127.0.0.1 and localhost with its port alone"
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin, site = _only(headers, b"origin"), _only(headers, b"sec-fetch-site")
        # A browser always sends one of them with a POST; another program has to say who it is.
        if (origin, site) == (None, None):
            return 403, "the request does not say which page it comes from"
        if origin not in (None, f"http://{host}") or site not in (None, "same-origin"):
            return 403, "the request comes from another page"
        token = headers.get(TOKEN_HEADER.lower().encode(), [b""])[0]
        if not secrets.compare_digest(token, self._token):
            return 403, "the token is not this server's: load the page again"
        return None


_ENCODED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_LOWER = frozenset(name for name, _ in _ENCODED)


def _only(headers: Mapping[bytes, list[bytes]], name: bytes) -> str | None:
    """Return the value of a header, None where it is missing; one sent twice fits nothing."""
    values = headers.get(name)
    if values is None:
        return None
    return values[0].decode("latin-1") if len(values) == 1 else ""
