"""What the demo's tests share: tiny saved networks, pictures, and a real server in a thread."""

from __future__ import annotations

import http.client
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import uvicorn
from PIL import Image

from fersearch.data.preprocessing import Preprocessing
from fersearch.demo import listen, make_app
from fersearch.demo.server import make_config
from fersearch.deploy.model_info import ModelInfo
from fersearch.deploy.torch_model import TorchPredictor
from fersearch.models import BundleConfig, create, save_bundle
from fersearch.records import to_plain

CLASSES = ("neutral", "happiness", "surprise", "sadness")


def save_tiny(folder, *, model="tiny_student", seed=0, channels=1, image_size=16, **more):
    """Save an untrained tiny network; its answers differ from seed to seed."""
    torch.manual_seed(seed)
    network = create(model, num_classes=len(CLASSES), image_size=image_size)
    with torch.no_grad():  # untrained, all classes would be as good as equally probable
        for weight in network.parameters():
            weight.mul_(4)
    preprocessing = Preprocessing(
        image_size=image_size, mean=(0.5,) * channels, std=(0.25,) * channels
    )
    config = BundleConfig(
        model=model,
        classes=more.pop("classes", CLASSES),
        image_size=image_size,
        preprocessing=to_plain(preprocessing),
        protocol_hash="0123456789abcdef",
        metrics=more.pop("metrics", {"test_accuracy": 0.789, "val_accuracy": 0.75}),
        **more,
    )
    save_bundle(folder, network, config)
    return folder


def open_tiny(folder, *, title="", **options):
    """Save a tiny network and open it through PyTorch."""
    return TorchPredictor(save_tiny(folder, **options), title=title)


def noise(height, width, *, seed=0, channels=3):
    """Return random pixels in coarse patches, which survive JPEG."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, channels), dtype=np.uint8)
    pixels = patches.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return pixels[:, :, 0] if channels == 1 else pixels


def encoded(image, kind="PNG", **options):
    """Return the bytes of a picture file; ``image`` is pixels or a Pillow image."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


@dataclass
class Site:
    """A running demo as a client sees it."""

    port: int
    token: str = ""
    host: str = field(init=False)

    def __post_init__(self):
        self.host = f"127.0.0.1:{self.port}"
        if not self.token:
            page = self.request("GET", "/").body.decode()
            self.token = re.search(r'name="fersearch-token" content="([^"]+)"', page)[1]

    def headers(self, **changes):
        """Return what the page sends; None leaves one out."""
        sent = {
            "Host": self.host,
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
            "X-Fersearch-Token": self.token,
        }
        sent.update({name.replace("_", "-"): value for name, value in changes.items()})
        return {name: value for name, value in sent.items() if value is not None}

    def request(self, method, path, body=None, headers=None):
        """Send one request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in (headers or {"Host": self.host}).items():
                connection.putheader(name, value)
            if isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
            elif body is not None:
                connection.putheader("Transfer-Encoding", "chunked")
            # What is refused before all of it was sent has an answer all the same.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders(body, encode_chunked=not isinstance(body, bytes | None))
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def classify(self, content, query="", **changes):
        """Send a picture as the page does."""
        return self.request("POST", f"/classify?{query}", content, self.headers(**changes))


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line that says what is wrong, which has to be one line."""
        content = self.json
        assert list(content) == ["error"]
        assert content["error"]
        assert "\n" not in content["error"]
        return content["error"]


@contextmanager
def running(models, finder=None, **options) -> Iterator[Site]:
    """Serve a demo from a thread, at a free port."""
    listener = listen(0)
    port = listener.getsockname()[1]
    app = make_app(models, finder, port=port, token="t" * 43, **options)
    server = uvicorn.Server(make_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Site(port, "t" * 43)
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


class Gated:
    """A predictor that waits until it is let through, or fails; for what needs a slow model."""

    runtime = "onnxruntime"

    def __init__(self, error: Exception | None = None) -> None:
        self.info = ModelInfo(
            model="gated", title="gated", classes=CLASSES, image_size=8, mean=(0.5,), std=(0.5,)
        )
        self.open = threading.Event()
        self.open.set()
        self.error = error
        self.asked = 0

    def probabilities(self, images):
        self.asked += 1
        assert self.open.wait(30)
        if self.error is not None and self.asked > 1:  # the first is the server's warming up
            raise self.error
        return np.full((len(images), len(CLASSES)), 0.25, dtype=np.float32)

    def grad_cam(self, image, target):
        return None


def wait_until(condition, seconds=20.0):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
