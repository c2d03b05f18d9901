"""What all tests share: the way to the real photos, a store of their own, a tiny backbone and drawn photos."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.backbones import Backbone, BackboneCard, build_network
from headstart.backbones.backbone import sha256_of_tensors
from headstart.images import Preprocess

# The tests' tensors are small: on a busy machine threads would spend their time waiting for each other.
torch.set_num_threads(1)

DrawPhotos = Callable[..., Path]

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights beside the checkout; skips where it is not there."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the real photos and weights in {SHARED}, which are not there")
    return SHARED


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the store of the person who runs it."""
    monkeypatch.setenv("HEADSTART_STORE", str(tmp_path_factory.mktemp("store")))


@pytest.fixture
def tiny_backbone() -> Backbone:
    """A backbone of 0.1 M random weights for images of 32 pixels: all of headstart, in milliseconds.

    Its architecture is one of timm's, so a classifier on top of it can be saved and loaded like any other.
    """
    card = BackboneCard(
        name="tiny",
        source="bundled",
        architecture="test_efficientnet",
        arguments={"num_classes": 10},
        preprocess=Preprocess(size=32, resize=36, interpolation="bicubic", mean=(0.5,) * 3, std=(0.25,) * 3),
        licence="Apache-2.0",
        parameters=101_766,
        weights_sha256="",
        weights_here=True,
        get_weights="",
        aliases={"pooled": "global_pool.flatten", "last": "global_pool.flatten"},
        summary="random weights, for tests",
    )
    network = build_network(card, seed=0)
    return Backbone(
        card=card, network=network, weights="none", weights_sha256=sha256_of_tensors(network.state_dict())
    )


@pytest.fixture(scope="session")
def draw_photos() -> DrawPhotos:
    """`draw_photos(folder, classes=..., per_class=8, seed=0)` draws FOLDER/CLASS/NN.jpg and returns the folder."""

    def draw(
        folder: Path, *, classes: Sequence[str] = ("brick", "grass", "sky"), per_class: int = 8, seed: int = 0
    ) -> Path:
        for label, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = _texture(label, np.random.default_rng((seed, label, i)))
                Image.fromarray(pixels).save(folder / name / f"{i:02}.jpg", quality=90)
        return folder

    return draw


@pytest.fixture
def photo_folder(tmp_path: Path, draw_photos: DrawPhotos) -> Path:
    """PHOTOS/CLASS/NN.jpg: three classes of eight small JPEGs that differ in colour and grain, by seed."""
    return draw_photos(tmp_path / "photos")


def _texture(label: int, rng: np.random.Generator) -> np.ndarray:
    """(44, 56, 3) uint8: stripes in the class's direction and colour, with light, phase and noise of its own."""
    y, x = np.mgrid[:44, :56]
    angle = 0.9 * label + rng.normal(0, 0.1)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(2.5, 3.5) + rng.uniform(0, 6))
    colour = np.random.default_rng(label).uniform(60, 200, 3)
    light = rng.uniform(0.8, 1.2) * (1 + rng.normal(0, 0.2) * x / 56)
    pixels = light[..., None] * (colour + 45 * wave[..., None]) + rng.normal(0, 12, (44, 56, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


class FileServer(ThreadingHTTPServer):
    """Serves files on the loopback; the attributes say which, and in which way it misbehaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/photos.tar"
        self.content = b""  # of every file that is not among `files`
        self.files: dict[str, bytes] = {}  # by name
        self.cuts: list[int] = []  # the next replies end after so many bytes
        self.statuses: list[int] = []  # the next replies are these
        self.honours_range = True
        self.range_begins_early = 0  # ranges begin so many bytes before what was asked
        self.says_length = True
        self.seconds_between_pieces = 0.0
        self.location = ""
        self.ranges: list[str | None] = []  # what was asked, request by request
        self.asked: list[str] = []  # and for which file

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        self.server.asked.append(self.path.rpartition("/")[2])
        if self.server.statuses:
            self.send_response(self.server.statuses.pop(0))
            self.send_header("Location", self.server.location)
            self.end_headers()
            return
        content = self.server.files.get(self.path.rpartition("/")[2], self.server.content)
        start = (
            int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.honours_range else 0
        )
        start = max(0, start - self.server.range_begins_early)
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self._send(content[start:], start)

    def _send(self, body: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
        if self.server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
        for i in range(0, len(body), 100_000):
            self.wfile.write(body[i : i + 100_000])
            self.wfile.flush()
            time.sleep(self.server.seconds_between_pieces)


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of our own on the loopback, which misbehaves as told."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()
