"""Encryption at rest: Fernet (AES-128-CBC with HMAC-SHA256, https://github.com/fernet/spec) under derived keys.

Several secrets may be given, newest first: the first encrypts, all decrypt. That is how a key is rotated.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from whago.errors import WhagoError

FORMAT_VERSION = 1


def derive_key(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose out of the product's secret (HKDF, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"whago/{purpose}".encode()).derive(secret.encode())


class Vault:
    """Seals small JSON objects, such as provider credentials, for the database."""

    def __init__(self, secrets: Sequence[str]) -> None:
        keys = [Fernet(base64.urlsafe_b64encode(derive_key(secret, "vault"))) for secret in secrets]
        self._newest = keys[0]
        self._fernet = MultiFernet(keys)

    def seal(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what goes into a JSONB column: ``{"v": 1, "sealed": "<fernet token>"}``."""
        token = self._fernet.encrypt(json.dumps(dict(content), separators=(",", ":")).encode())
        return {"v": FORMAT_VERSION, "sealed": token.decode()}

    def open(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The content of a sealed column. Raises WhagoError("unavailable") when no key fits."""
        if not stored:
            return {}
        try:
            content = json.loads(self._fernet.decrypt(str(stored["sealed"]).encode()))
        except (InvalidToken, KeyError) as error:
            raise WhagoError("unavailable", part="secret key") from error
        return dict(content)

    def is_current(self, stored: Mapping[str, Any]) -> bool:
        """Whether the newest key alone opens it. Raises WhagoError("unavailable") when no key does."""
        if not stored:
            return True
        try:
            self._newest.decrypt(str(stored["sealed"]).encode())
        except (InvalidToken, KeyError):
            self.open(stored)
            return False
        return True

    def reseal(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The same content under the newest key."""
        return self.seal(self.open(stored))
