"""Who may ask the demo, and how much: foreign pages, foreign names, floods, things not pictures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import socket
import struct
import time
import zlib

import pytest
from demo_samples import Gated, encoded, noise, open_tiny, running, wait_until

from fersearch.demo.bench import Bench, Wish
from fersearch.demo.desk import MOST_BYTES, MOST_UNDER_WAY, Desk
from fersearch.demo.refusal import RefusedError
from fersearch.demo.server import DEFAULT_PORT, MOST_CONNECTIONS, listen
from fersearch.errors import FersearchError, InputError

PICTURE = encoded(noise(40, 40))


@pytest.fixture(scope="module")
def site(tmp_path_factory, tiny_plugin):
    with running([open_tiny(tmp_path_factory.mktemp("model") / "model")]) as running_site:
        yield running_site


def test_the_page_itself_may_ask(site):
    assert site.request("GET", "/").status == 200
    assert site.classify(PICTURE).status == 200


def test_the_page_may_be_opened_as_localhost(site):
    host = f"localhost:{site.port}"
    assert site.request("GET", "/", headers={"Host": host}).status == 200
    assert site.classify(PICTURE, Host=host, Origin=f"http://{host}").status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil:{port}"],
)
@pytest.mark.parametrize("path", ["/", "/demo.js", "/classify"])
def test_a_foreign_name_that_points_here_gets_nothing(site, host, path):
    method = "POST" if path == "/classify" else "GET"
    name = host.format(port=site.port)
    reply = site.request(method, path, PICTURE, site.headers(Host=name, Origin=f"http://{name}"))
    assert reply.status == 421
    assert "127.0.0.1" in reply.error
    assert site.token.encode() not in reply.body


@pytest.mark.parametrize(
    "changes",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": None},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": None, "Sec_Fetch_Site": "cross-site"},
        {"Origin": None, "Sec_Fetch_Site": None},
    ],
)
def test_a_foreign_page_cannot_ask_even_with_the_token(site, changes):
    changes = {k: v and v.format(port=site.port) for k, v in changes.items()}
    reply = site.classify(PICTURE, **changes)
    assert reply.status == 403
    assert "page" in reply.error


@pytest.mark.parametrize(
    "changes", [{"Origin": None}, {"Sec_Fetch_Site": None}], ids=["site only", "origin only"]
)
def test_one_of_the_two_headers_is_enough(site, changes):
    assert site.classify(PICTURE, **changes).status == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "t" * 42, "ü" * 43])
def test_without_the_token_nothing_is_done(site, token):
    sent = None if token is None else token.encode("utf-8").decode("latin-1")
    reply = site.classify(PICTURE, X_Fersearch_Token=sent)
    assert reply.status == 403
    assert "load the page again" in reply.error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/classify", 405),
        ("PUT", "/classify", 405),
        ("DELETE", "/", 405),
        ("POST", "/", 405),
        ("GET", "/nothing", 404),
        ("GET", "/../pyproject.toml", 404),
        ("GET", "/claims.toml", 404),
    ],
)
def test_there_is_nothing_else(site, method, path, status):
    body = PICTURE if method in ("PUT", "POST") else None
    reply = site.request(method, path, body, site.headers())
    assert reply.status == status
    assert reply.error


def test_a_foreign_page_gets_no_permission_in_advance(site):
    headers = site.headers(Origin="https://evil.example", X_Fersearch_Token=None)
    headers["Access-Control-Request-Method"] = "POST"
    reply = site.request("OPTIONS", "/classify", None, headers)
    assert reply.status == 403
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]


def test_every_answer_carries_the_policy(site):
    replies = [
        site.request("GET", "/"),
        site.request("GET", "/demo.js"),
        site.request("GET", "/nothing"),
        site.request("GET", "/", headers={"Host": "evil.example"}),
        site.classify(PICTURE),
        site.classify(PICTURE, X_Fersearch_Token=None),
        site.classify(b"no picture"),
    ]
    assert [reply.status for reply in replies] == [200, 200, 404, 421, 200, 403, 400]
    for reply in replies:
        headers = {name.lower(): value for name, value in reply.headers.items()}
        policy = {part.split()[0]: part.split()[1:] for part in
                  headers["content-security-policy"].split(";")}  # fmt: skip
        assert policy["default-src"] == ["'none'"]
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
        assert policy["img-src"] == ["'self'", "blob:", "data:"]
        assert policy["frame-ancestors"] == ["'none'"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["permissions-policy"].startswith("camera=(self)")
        assert headers["cache-control"] == "no-store"
        assert not [name for name in headers if name.startswith("access-control")]


# ---- what is sent ---------------------------------------------------------------------------


def test_too_many_bytes_are_cut_whatever_the_sender_says_of_them(site):
    one = bytes(1_000_000)
    count = MOST_BYTES // len(one) + 3
    for body in (one * count, (one for _ in range(count))):
        reply = site.classify(body)
        assert reply.status == 413
        assert "10 MB" in reply.error
    assert site.classify(PICTURE).status == 200


def huge_png(width, height):
    """Return a PNG whose header promises many pixels, without holding them."""

    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(5000, 5001), (30_000, 30_000), (2_000_000_000, 2_000_000_000)])
def test_too_many_pixels_are_refused_by_the_header_alone(site, size):
    begun = time.monotonic()
    reply = site.classify(huge_png(*size))
    assert reply.status in ((413,) if size[0] < 20_000 else (400, 413))
    assert reply.error
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no picture"),
        (b"no picture at all", "not an image"),
        (PICTURE[: len(PICTURE) // 2], "truncated"),
        (huge_png(40, 40), "cannot be read"),
        # Pillow would start Ghostscript for it.
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
            "not an image",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ],
    ids=["empty", "text", "half", "no pixels", "postscript", "svg"],
)
def test_what_is_no_picture_is_said_in_one_line(site, content, reason):
    reply = site.classify(content)
    assert reply.status == 400
    assert reason in reply.error
    assert site.classify(PICTURE).status == 200


# ---- how much at once -----------------------------------------------------------------------


def test_a_flood_is_turned_away_and_the_page_still_answers():
    model = Gated()
    with running([model]) as site, concurrent.futures.ThreadPoolExecutor(8) as clients:
        model.open.clear()
        waiting = [clients.submit(site.classify, PICTURE) for _ in range(MOST_UNDER_WAY)]
        wait_until(lambda: model.asked == 2)
        time.sleep(0.3)  # the others are in the queue by now
        reply = site.classify(PICTURE)
        assert reply.status == 429
        assert reply.headers["retry-after"] == "1"
        assert "after an answer" in reply.error
        assert site.request("GET", "/").status == 200
        model.open.set()
        assert [request.result().status for request in waiting] == [200] * MOST_UNDER_WAY
        assert site.classify(PICTURE).status == 200
    assert model.asked == 2 + MOST_UNDER_WAY


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: 127.0"], ids=["idle", "slow"])
def test_connections_that_ask_for_nothing_are_closed_and_keep_nobody_out(monkeypatch, said):
    monkeypatch.setattr("fersearch.demo.connections.REQUEST_SECONDS", 2.0)
    with running([Gated()]) as site, contextlib.ExitStack() as opened:
        used = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        used.request("GET", "/", headers={"Host": site.host})
        assert used.getresponse().read()
        idle = [
            opened.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=20))
            for _ in range(MOST_CONNECTIONS)
        ]
        for connection in idle:
            connection.sendall(said)
        assert site.request("GET", "/").status == 503
        assert {connection.recv(1) for connection in idle} == {b""}
        assert site.request("GET", "/").status == 200
        # One that was answered may pause for longer, and is still the same connection.
        used.auto_open = 0
        used.request("GET", "/", headers={"Host": site.host})
        assert used.getresponse().status == 200
        used.close()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("pixels 12 13 14"), "unexpected ValueError"),
        (FersearchError("the network fails", "look at it"), "the network fails; look at it"),
    ],
)
def test_a_model_that_fails_is_one_line_and_the_next_picture_is_answered(error, line):
    model = Gated(error)
    with running([model]) as site:
        for _ in range(MOST_UNDER_WAY + 1):
            reply = site.classify(PICTURE)
            assert (reply.status, reply.error) == (500, line)
            assert "default-src 'none'" in reply.headers["content-security-policy"]
        model.error = None
        assert site.classify(PICTURE).status == 200


def test_bytes_that_trickle_are_given_up():
    async def trickle():
        yield PICTURE[:10]
        await asyncio.sleep(30)

    async def ask():
        desk = Desk(Bench([Gated()], None), read_seconds=0.05)
        with pytest.raises(RefusedError) as refused:
            await desk.answer(trickle(), Wish())
        assert refused.value.status == 408
        assert (await desk.answer(whole(), Wish())).width == 40
        desk.close()

    async def whole():
        yield PICTURE

    asyncio.run(ask())


def test_an_answer_that_takes_too_long_keeps_its_place_until_it_is_done():
    async def whole():
        yield PICTURE

    async def ask():
        model = Gated()
        desk = Desk(Bench([model], None), work_seconds=0.05)
        model.open.clear()
        for _ in range(MOST_UNDER_WAY):
            with pytest.raises(RefusedError) as refused:
                await desk.answer(whole(), Wish())
            assert refused.value.status == 504
        # The first still runs; those behind it never began and left the queue.
        assert model.asked == 1
        model.open.set()
        desk._work_seconds = 20
        assert len((await desk.answer(whole(), Wish())).findings) == 1
        desk.close()

    asyncio.run(ask())


# ---- where it listens -----------------------------------------------------------------------


def test_it_listens_on_the_loopback_address_alone():
    with listen(0) as listener:
        address, port = listener.getsockname()
        assert address == "127.0.0.1"
        other = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with other, pytest.raises(OSError, match="refused"):
            other.settimeout(5)
            other.connect(("127.0.0.2", port))


def test_a_taken_port_is_said_when_it_was_asked_for_and_stepped_aside_from_when_not():
    with listen(0) as first:
        taken = first.getsockname()[1]
        with pytest.raises(InputError, match=f"port {taken}.*--port"):
            listen(taken)
    with listen() as default:
        if default.getsockname()[1] == DEFAULT_PORT:
            with listen() as aside:
                assert aside.getsockname()[1] not in (0, DEFAULT_PORT)
