"""compose.yaml as the tests see it: variables filled in, and each service as a plain process of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = ("migrate", "web", "gateway", "worker", "beat", "bridge")
SERVERS: Final = ("postgres", "valkey")
SECRETS_AT: Final = "/run/secrets/"
VARIABLE: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")


def composition(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with its variables filled in: with ``environ``, else with what the file itself says."""
    given = environ or {}
    text = (ROOT / "compose.yaml").read_text()
    filled = VARIABLE.sub(lambda found: given.get(found[1]) or found[2], text)
    assert "${" not in filled, "every variable has a default, so that a first start needs no .env"
    content: dict[str, Any] = yaml.safe_load(filled)
    return content


@dataclass(frozen=True)
class Machine:
    """Where containers would live: every port of theirs is another one on loopback, and secrets are in a folder."""

    secrets: Path
    folder: Path
    ports: Mapping[str, int]

    def argv(self, service: Mapping[str, Any]) -> list[str]:
        """The container's command line, for the product of this checkout."""
        return [sys.executable, "-P", "-m", "whago", *(self._here(word) for word in service["command"])]

    def probe(self, service: Mapping[str, Any]) -> list[str]:
        """The container's health check."""
        kind, program, *arguments = service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        return [sys.executable, "-P", *(self._here(word) for word in arguments)]

    def environment(self, name: str, service: Mapping[str, Any]) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WHAGO_")}
        return inherited | {
            key: self._setting(name, key, str(value or "")) for key, value in service["environment"].items()
        }

    def start(self, name: str, service: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.argv(service), env=self.environment(name, service), cwd=self.folder, stdout=log, stderr=log
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _setting(self, name: str, key: str, value: str) -> str:
        match key:
            case "WHAGO_DATA_DIR":
                return str(self.folder / name)
            case "WHAGO_GATEWAY_PUBLIC_HOST":
                return f"127.0.0.1:{self.ports['3128']}"
            case _ if value.startswith(SECRETS_AT):
                return str(self.secrets / value.removeprefix(SECRETS_AT))
        return self._here(value)

    def _here(self, word: str) -> str:
        if found := re.fullmatch(r"http://[a-z]+:(\d+)", word):
            return f"http://127.0.0.1:{self.ports[found[1]]}"
        return "127.0.0.1" if word == "0.0.0.0" else str(self.ports.get(word, word))
