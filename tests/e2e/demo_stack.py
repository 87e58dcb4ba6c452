"""``whago up --demo`` in a process of its own, as a newcomer starts it, and a WhatsApp engine to go with it."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from whago.main.embedded import free_port, private_data_dir

PATIENCE_S: Final = 180.0  # a first start on a busy machine, the bridge's modules included
CHAT: Final = "g.whatsapp.net:5222"  # at the simulated provider it sends every byte back
ANSWER_S: Final = 30.0
PIECE_BYTES: Final = 65_536


@dataclass(slots=True)
class DemoStack:
    """Everything of the demo. ``lines``: what it printed."""

    folder: Path = field(default_factory=private_data_dir)
    port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    lines: list[str] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _reader: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns with the ready line."""
        ports = ["--port", str(self.port), "--gateway-port", str(self.gateway_port)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "up", "--demo", "--data", str(self.folder), *ports],
            env={name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + PATIENCE_S
        while not any("padaria@" in line for line in self.lines):
            told = "\n".join(self.lines[-30:])
            assert self._process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.1)

    def stop(self) -> None:
        assert self._process is not None
        assert self._reader is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def password_of(self, email: str) -> str:
        """As the terminal shows it."""
        found = re.search(rf"{re.escape(email)}\s+password (\S+)", "\n".join(self.lines))
        assert found, self.lines
        return found[1]

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))


def chat(proxy_url: str, count: int) -> None:
    """What an engine does with a chip's credential: a tunnel to the chat, ``count`` bytes there and back."""
    parts = urlsplit(proxy_url)
    login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    with socket.create_connection((str(parts.hostname), parts.port or 0), ANSWER_S) as wire:
        wire.sendall(f"CONNECT {CHAT} HTTP/1.1\r\nHost: {CHAT}\r\nProxy-Authorization: Basic {login}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = wire.recv(PIECE_BYTES)
            assert piece, head
            head += piece
        assert head.startswith(b"HTTP/1.1 200"), head
        left = count
        while left:
            wire.sendall(b"x" * min(left, PIECE_BYTES))
            back = 0
            while back < min(left, PIECE_BYTES):
                back += len(wire.recv(PIECE_BYTES))
            left -= min(left, PIECE_BYTES)
