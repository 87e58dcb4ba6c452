"""The two ends of the wire, compiled where they are used: no end may be slower than what stands between them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.gateway.install import Unavailable

SOURCES: Final = Path(__file__).with_name("wire")
COMPILERS: Final = ("cc", "gcc", "clang")
OPTIONS: Final = ("-O2", "-Wall", "-Wextra")


@dataclass(frozen=True, slots=True)
class Wire:
    """The built programs."""

    near_end: Path
    far_end: Path


def build(folder: Path) -> Wire:
    """Compile into ``folder``. Raises Unavailable where there is no C compiler."""
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise Unavailable(
            f"there is no C compiler ({', '.join(COMPILERS)}) on the PATH: install one, such as Debian's gcc"
        )
    return Wire(_compile(compiler, folder, "near_end"), _compile(compiler, folder, "far_end"))


def _compile(compiler: str, folder: Path, name: str) -> Path:
    program = folder / name
    command = [compiler, *OPTIONS, "-o", str(program), str(SOURCES / f"{name}.c")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode != 0:
        raise Unavailable(f"{compiler} could not compile {name}.c: {told.stderr.strip().splitlines()[-1]}")
    return program
