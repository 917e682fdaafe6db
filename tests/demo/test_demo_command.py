"""``fersearch demo`` as users start and stop it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from demo_samples import Site, encoded, noise, save_tiny

from fersearch.demo import listen, make_app
from fersearch.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def start(folder, *arguments, **more):
    """Start the command in an empty folder, where whatever it wrote would be seen."""
    work, scratch = folder / "work", folder / "scratch"
    work.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scratch),
        "OMP_NUM_THREADS": "1",
        **more,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "fersearch", "demo", *map(str, arguments)],
        cwd=work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def first_lines(process):
    """Return the two lines on stdout that say where it is, or fail with what stderr says."""
    ready, _, _ = select.select([process.stdout], [], [], 120)
    lines = [process.stdout.readline() for _ in range(2)] if ready else []
    if not all(lines) or not lines:
        process.kill()
        raise AssertionError(process.communicate()[1])
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_keeps_nothing_and_ends_in_order(tmp_path, tiny_plugin, number):
    saved = [save_tiny(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    options = ["--compare", saved[1], "--port", "0", "--plugin", tiny_plugin, "--open"]
    visited = tmp_path / "visited"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{visited}"\n', encoding="utf-8")
    browser.chmod(0o755)
    process = start(tmp_path, saved[0], *options, BROWSER=str(browser))
    try:
        line, how_to_end = first_lines(process)
        title, port = re.fullmatch(r"(.*): http://127\.0\.0\.1:(\d+)/\n", line).groups()
        assert title == "one beside two"
        site = Site(int(port))
        picture = encoded(noise(50, 50))
        answer = site.classify(picture, "faces=whole").json
        assert len(answer["faces"][0]["verdicts"]) == 2
        assert site.classify(b"nothing").status == 400
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert visited.read_text(encoding="utf-8") == f"http://127.0.0.1:{port}/\n"
    assert how_to_end == "Ctrl-C ends it\n"
    assert out == ""
    assert [text for text in err.splitlines() if not text.startswith("note: ")] == []
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "scratch").iterdir())
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(port)))


@pytest.mark.slow
def test_what_cannot_be_shown_is_one_line(tmp_path):
    with listen(0) as listener:
        taken = listener.getsockname()[1]
        for arguments, message in (
            (("nothing",), "there is no file, folder or study nothing"),
            (("nothing", "--port", taken), f"cannot listen on port {taken}"),
            (("nothing", "--port", 70000), "70000"),
        ):
            process = start(tmp_path, *arguments)
            out, err = process.communicate(timeout=120)
            assert process.returncode == 2
            assert out == ""
            assert err.startswith("error: ")
            assert err.count("\n") == 1
            assert message in err


def test_without_opencv_every_picture_is_one_face_unless_a_detector_was_asked_for(monkeypatch):
    from fersearch.cli.demo import _open_finder

    monkeypatch.setitem(sys.modules, "cv2", None)
    finder, why = _open_finder(None)
    assert finder is None
    assert 'pip install "fersearch[align]"' in why
    with pytest.raises(InputError, match="OpenCV"):
        _open_finder("detector.onnx")


def test_without_starlette_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "starlette"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    from demo_samples import Gated

    with pytest.raises(InputError, match="pip install starlette uvicorn"):
        make_app([Gated()], None, port=1)
