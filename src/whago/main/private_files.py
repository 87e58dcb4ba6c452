"""Files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from whago.main.leash import Account

SECRET_BYTES: Final = 24  # 192 bits: beyond guessing, and still short in a URL


def kept_secret(path: Path) -> str:
    """The secret kept in ``path`` (0600), made at the first call."""
    found = read_secret(path)
    if found is None:
        found = secrets.token_hex(SECRET_BYTES)
        write_private(path, found + "\n")
    return found


def read_secret(path: Path) -> str | None:
    """The first line of ``path``; None when there is no such file or it is empty."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Replace ``path`` in one step by a file with mode 0600 that belongs to ``owner`` (default: us)."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        if owner is not None:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        os.fsync(file.fileno())
    draft.replace(path)
