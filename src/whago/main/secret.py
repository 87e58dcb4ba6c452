"""The product's secret: what is sealed in the database and signed for browsers hangs on it."""

from __future__ import annotations

import os
import secrets
from typing import Final

from whago.main.data_folder import default_data_dir
from whago.main.leash import StartError
from whago.main.private_files import SECRET_BYTES, read_secret
from whago.settings import SECRET_MIN_CHARS, Settings

FILE_NAME: Final = "secret-key"  # the same file that ``whago up`` keeps


def secret_keys(settings: Settings) -> tuple[str, ...]:
    """The secret in use, then the earlier ones that can still decrypt. Raises StartError as ``secret_key`` does."""
    return (secret_key(settings), *(earlier.get_secret_value() for earlier in settings.secret_key_previous))


def secret_key(settings: Settings) -> str:
    """``WHAGO_SECRET_KEY``, else what the data folder keeps; made there (0600) by whoever asks first.

    Raises StartError with a sentence when the folder cannot be used.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    folder = settings.data_dir or default_data_dir()
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{FILE_NAME}.{secrets.token_hex(4)}"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)  # whole or not at all; whoever comes second takes what the first one made
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        found = read_secret(path)
    except OSError as error:
        raise StartError(f"The secret key cannot be kept in {path}: {error.strerror}. Set WHAGO_SECRET_KEY.") from None
    if found is None or len(found) < SECRET_MIN_CHARS:
        raise StartError(f"{path} holds no usable secret key. Restore it from a backup, or set WHAGO_SECRET_KEY.")
    return found
