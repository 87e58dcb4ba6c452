"""Folders and programs that another user can reach: as root the embedded servers run as ``nobody``."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from whago.main.leash import Account, StartError

CLOSED_FOLDER: Final = 0o711  # may be passed through (nobody must), not listed; every secret inside is 0600


def private_data_dir() -> Path:
    """A new folder for throw-away servers that ``nobody`` can pass through (pytest's ``tmp_path`` is 0700)."""
    folder = Path(tempfile.mkdtemp(prefix="whago-"))
    folder.chmod(CLOSED_FOLDER)
    return folder


def package_folder(name: str) -> Path:
    """Where a wheel was unpacked, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(f"The Python package {name} is not installed: run ./whago, which installs it.")
    return Path(spec.origin).parent


def reachable(site: Path, parts: tuple[str, ...], copies: Path, account: Account | None, wheel: str) -> Path:
    """The folder to run ``parts`` from: ``site``, or a copy when ``account`` cannot get there (a venv below /root)."""
    if account is None or all(closed_at(site / part, account) is None for part in parts):
        return site
    copy = copies / f"{wheel}-{version(wheel)}"
    if not copy.exists():
        draft = copies.with_name(f"draft-{wheel}")
        shutil.rmtree(draft, ignore_errors=True)
        for part in parts:
            shutil.copytree(site / part, draft / part, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
        copies.mkdir(parents=True, exist_ok=True)
        for folder in (copies, *draft.glob("**/")):  # whatever the umask is
            folder.chmod(0o755)
        draft.rename(copy)
    return copy


def open_folder(folder: Path, account: Account | None) -> None:
    """Make ``folder`` and see that ``account`` can pass through it."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(CLOSED_FOLDER)
    except OSError as error:
        raise StartError(f"The folder {folder} cannot be used: {error.strerror}. Choose another data folder.") from None
    closed = closed_at(folder, account) if account else None
    if closed is not None and account is not None:
        raise StartError(
            f"As root the database runs as the user {account.name}, and {closed} is closed to that user: "
            f"choose a data folder with open parents, such as /var/lib/whago, or run 'chmod o+x {closed}'."
        )


def closed_at(path: Path, account: Account) -> Path | None:
    """The first folder on the way to ``path`` that ``account`` may not pass through."""
    for folder in (*reversed(path.parents), path):
        found = folder.stat()
        bit = 0o100 if found.st_uid == account.uid else 0o010 if found.st_gid == account.gid else 0o001
        if not found.st_mode & bit:
            return folder
    return None


def nearest_folder(folder: Path) -> Path:
    """``folder``, or the first one above it that exists."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def give(folder: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(folder, account.uid, account.gid)
