"""Building the images where there is no Docker engine: Buildah, on base images made of Debian's packages.

The bases stand in for ``python:3.13-slim`` and ``node:24-slim``, which a closed network does not have: the same Debian
family with the same Python, and the Node that the tests use themselves. Everything else is the Dockerfile's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.composition import ROOT
from whago.main.embedded import private_data_dir
from whago.main.node import node_binary
from whago.main.test_runner import IMAGE_BUILDERS

SUITE: Final = "trixie"  # its Python is 3.13
MIRROR: Final = "http://deb.debian.org/debian"
PACKAGES: Final = "ca-certificates,python3,python3-pip,python-is-python3"
CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"
BASE_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",
    "SSL_CERT_FILE": f"/{CERTIFICATES}",
    "PIP_CERT": f"/{CERTIFICATES}",
    "NODE_EXTRA_CA_CERTS": f"/{CERTIFICATES}",
}
PATIENCE_S: Final = 600.0  # of one command, the packages over a slow line included


class Images:
    """A context manager with a store of its own, of which nothing is left. Skips the test where it cannot be had."""

    def __init__(self) -> None:
        missing = [name for name in IMAGE_BUILDERS if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            pytest.skip(f"images are built as root, with Debian's packages {' and '.join(IMAGE_BUILDERS)}")
        self.folder = private_data_dir()

    def __enter__(self) -> Images:
        try:
            self._make_bases()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            self.__exit__()
            pytest.skip(f"no base image could be made here: {str(error)[:300]} {str(error.stderr)[-300:]}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for command in ("rm", "rmi"):
            subprocess.run([*self._command(), command, "--all"], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def build(self, target: str) -> None:
        """The stage of our Dockerfile, as an image of that name. Fails with the builder's last words.

        Tried twice, because the packages come over the network.
        """
        bases = [f"--build-arg={name}_IMAGE=localhost/stand-in-{name.lower()}" for name in ("PYTHON", "NODE")]
        command = ("bud", "--layers", *bases, "--target", target, "--tag", f"localhost/{target}", str(ROOT))
        done = self._run(*command, check=False)
        if done.returncode != 0:
            done = self._run(*command, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    def container(self, image: str) -> str:
        return self._run("from", f"localhost/{image}").stdout.strip()

    def mounted(self, container: str) -> Path:
        """The container's files, as this machine sees them."""
        return Path(self._run("mount", container).stdout.strip())

    def argv(self, container: str, *words: str, environment: Mapping[str, str] | None = None) -> list[str]:
        """What runs these words in the container as its image's own user, on this machine's network."""
        given = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        return [*self._command(), "run", *given, container, "--", *words]

    def _make_bases(self) -> None:
        root = self.folder / "base"
        made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), MIRROR]
        subprocess.run(made, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        if Path("/", CERTIFICATES).exists():  # those of a network that opens TLS count as well
            shutil.copy(Path("/", CERTIFICATES), root / CERTIFICATES)
        python = self._run("from", "scratch").stdout.strip()
        self._run("copy", "--quiet", python, str(root), "/")
        shutil.rmtree(root)
        self._run("config", *(f"--env={name}={value}" for name, value in BASE_ENVIRONMENT.items()), python)
        # A pip that pip itself may take out, as in Python's own image.
        pip = ("python3", "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--ignore-installed", "pip")
        self._run("run", python, "--", *pip)
        self._run("commit", "--quiet", python, "stand-in-python")
        self._run("copy", "--quiet", python, str(self._node()), "/usr/local")
        self._run("commit", "--quiet", python, "stand-in-node")

    def _node(self) -> Path:
        """Node and npm laid out as in Node's own image."""
        binary = Path(node_binary())
        folder = self.folder / "node"
        (folder / "bin").mkdir(parents=True)
        shutil.copy(binary, folder / "bin" / "node")
        shutil.copytree(binary.parent.parent / "lib" / "node_modules" / "npm", folder / "lib" / "node_modules" / "npm")
        (folder / "bin" / "npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
        return folder

    def _command(self) -> list[str]:
        return ["buildah", f"--root={self.folder / 'store'}", f"--runroot={self.folder / 'run'}"]

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "BUILDAH_FORMAT": "docker"}
        return subprocess.run(
            [*self._command(), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=check,
        )
