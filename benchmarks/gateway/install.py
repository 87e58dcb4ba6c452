"""Peers from Debian, PyPI and npm, into a folder of our own: nothing else on the machine changes, no service starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from whago.main.leash import StartError
from whago.main.node import node_binary, node_environment, npm_command

INSTALL_TIMEOUT_S: Final = 240  # the largest peer brings 40 packages; a registry that hangs must not hold the run up
_ADDRESS: Final = re.compile(r"\b(?:https?|file)://\S+")  # where a package came from is no part of a result


class Unavailable(Exception):
    """A peer (or a tool) cannot be had on this machine; the message is a clause that says why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """An installed program: how to start it, and what it needs in its environment."""

    argv: tuple[str, ...]
    version: str
    folder: Path  # the package's files
    env: dict[str, str] = field(default_factory=dict)


class Cache:
    """``folder`` keeps what was installed, so that the next run starts at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def debian(self, package: str, program: str, version_argument: str = "-v") -> Tool:
        """The machine's own program when it has one, else the distribution's package, unpacked here.

        The distribution keeps one version of a package: which one it was is read from the program and printed.
        """
        own = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if own is not None:
            return Tool((own,), _version(own, version_argument, {}), Path("/"))
        root = self.folder / "debian" / package
        if not root.exists():
            self._unpack(package, root)
        found = sorted(root.glob(f"usr/*bin/{program}"))
        if not found:
            raise Unavailable(f"the Debian package {package} has no program {program}")
        libraries = [str(folder) for folder in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"))]
        env = {"LD_LIBRARY_PATH": ":".join(libraries)}
        return Tool((str(found[0]),), _version(str(found[0]), version_argument, env), root, env)

    def pip(self, requirement: str, program: str) -> Tool:
        """A virtual environment of its own for one package."""
        name, _, version = requirement.partition("==")
        venv = self.folder / "pip" / requirement
        script = venv / "bin" / program
        if not script.exists():
            shutil.rmtree(venv, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(venv)], f"no virtual environment for {name}")
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement]
            try:
                _run(pip, f"pip could not install {requirement}")
            except Unavailable:
                shutil.rmtree(venv, ignore_errors=True)
                raise
        return Tool((str(script),), version, venv)

    def npm(self, package: str, version: str) -> Tool:
        """A folder of its own for one package; ``argv`` is node alone. No install script of any package is run."""
        folder = self.folder / "npm" / f"{package}@{version}"
        try:
            node, npm = node_binary(), npm_command()
        except StartError as error:
            raise Unavailable(str(error)) from None
        if not (folder / "node_modules" / package).exists():
            folder.mkdir(parents=True, exist_ok=True)
            options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            _run(
                [*npm, "install", *options, f"{package}@{version}"],
                f"npm could not install {package}",
                node_environment(),
            )
        told = json.loads((folder / "node_modules" / package / "package.json").read_text())
        return Tool((str(node),), str(told["version"]), folder)

    def npm_newest(self, package: str) -> str:
        """The newest version that the registry names."""
        try:
            command = [*npm_command(), "view", package, "version"]
            return _run(command, f"npm knows no {package}", node_environment()).strip()
        except StartError as error:
            raise Unavailable(str(error)) from None

    def _unpack(self, package: str, root: Path) -> None:
        """apt with lists and archives of its own resolves what is missing; dpkg unpacks it without running a script."""
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise Unavailable(f"it is not on the PATH, and there is no apt here to get the Debian package {package}")
        lists, archives = self.folder / "apt" / "lists", self.folder / "apt" / package
        for folder in (lists, archives):
            (folder / "partial").mkdir(parents=True, exist_ok=True)
        options = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={self.folder / 'apt'}"]
        options += ["-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1", "-q", "-y"]
        if not any(lists.glob("*Packages*")):
            _run(["apt-get", *options, "update"], "apt-get update failed")
        _run(
            ["apt-get", *options, "--no-install-recommends", "--download-only", "install", package],
            f"it is not on the PATH, and there is no Debian package {package} for this release",
        )
        draft = root.with_name(f"{package}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for archive in sorted(archives.glob("*.deb")):
            _run(["dpkg", "-x", str(archive), str(draft)], f"{archive.name} could not be unpacked")
        draft.rename(root)


def _run(command: Sequence[str], problem: str, env: dict[str, str] | None = None) -> str:
    """What it printed. Raises Unavailable with ``problem`` and the tool's last words."""
    try:
        told = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
            env=env,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{problem}: no answer within {INSTALL_TIMEOUT_S} s") from None
    if told.returncode != 0:
        words = [line for line in told.stderr.strip().splitlines() if "rror" in line or line.startswith("E:")]
        last = _ADDRESS.sub("…", words[0]) if words else f"exit status {told.returncode}"
        raise Unavailable(f"{problem} ({last})")
    return told.stdout


def _version(program: str, argument: str, env: dict[str, str]) -> str:
    """The first number with a dot that the program prints about itself."""
    told = subprocess.run([program, argument], capture_output=True, text=True, check=False, env={**os.environ, **env})
    found = re.search(r"\d+\.\d[\w.+-]*", told.stdout + told.stderr)
    return found[0].rstrip(".") if found else "unknown"
