"""Tokens that the web signs: access tokens (JWT, RFC 7519) and CSRF tokens (OWASP's signed double submit)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import jwt

from whago.kit.crypto import derive_key
from whago.kit.ids import new_token

ACCESS_LASTS: Final = timedelta(minutes=15)  # how long a stolen one is of use; a refresh token brings the next
ALGORITHM: Final = "HS256"
TOKEN_MAX_CHARS: Final = 2_000  # ours have about 250


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says. It holds while its sign-in does, and no longer than the user's generation."""

    user_id: UUID
    family_id: UUID
    generation: int


class AccessTokens:
    """Signs under the newest key, believes all of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [derive_key(secret, "access-token") for secret in secrets]

    def issue(self, claims: Claims, now: datetime) -> str:
        content = {
            "sub": str(claims.user_id),
            "sid": str(claims.family_id),
            "gen": claims.generation,
            "iat": int(now.timestamp()),
            "exp": int((now + ACCESS_LASTS).timestamp()),
        }
        return jwt.encode(content, self._keys[0], algorithm=ALGORITHM)

    def read(self, token: str, now: datetime) -> Claims | None:
        """None for a token that is not ours, was altered, or has ended."""
        if len(token) > TOKEN_MAX_CHARS:
            return None
        for key in self._keys:
            try:
                content = jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    options={"require": ["sub", "sid", "gen", "exp"], "verify_exp": False, "verify_iat": False},
                )
            except jwt.InvalidTokenError:
                continue
            if datetime.fromtimestamp(content["exp"], UTC) <= now:
                return None
            return Claims(UUID(content["sub"]), UUID(content["sid"]), int(content["gen"]))
        return None


class CsrfTokens:
    """``random.signature``, where the signature also covers who is signed in, so that a planted cookie is of no use."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [derive_key(secret, "csrf") for secret in secrets]

    def issue(self, user_id: UUID | None) -> str:
        nonce = new_token()
        return f"{nonce}.{_signature(self._keys[0], nonce, user_id)}"

    def holds(self, token: str, user_id: UUID | None) -> bool:
        nonce, _, signature = token.partition(".")
        return any(_same(signature, _signature(key, nonce, user_id)) for key in self._keys)

    def matches(self, cookie: str | None, sent: str | None, user_id: UUID | None) -> bool:
        """Whether a request proves that it comes from a page that we gave to this user."""
        return bool(cookie) and bool(sent) and _same(str(cookie), str(sent)) and self.holds(str(cookie), user_id)


def same_origin(origin: str | None, host: str | None, public_url: str | None) -> bool:
    """Whether a browser's Origin header names this site; requests without one are judged by their token alone."""
    if origin is None:
        return True
    named = urlsplit(origin).netloc.lower()
    ours = {host.lower()} if host else set()
    if public_url is not None:
        ours.add(urlsplit(public_url).netloc.lower())
    return bool(named) and named in ours


def _signature(key: bytes, nonce: str, user_id: UUID | None) -> str:
    return hmac.new(key, f"{nonce}|{user_id or 'anonymous'}".encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
