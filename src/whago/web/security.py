"""Tokens that the web signs: access tokens and sign-ins half done (JWT, RFC 7519), and CSRF tokens (OWASP's signed
double submit)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import jwt

from whago.kit.crypto import derive_key
from whago.kit.ids import new_token

ACCESS_LASTS: Final = timedelta(minutes=15)  # how long a stolen one is of use; a refresh token brings the next
CHALLENGE_LASTS: Final = timedelta(minutes=5)  # to find the phone and type six digits
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
        content = _read(self._keys, token, ("sub", "sid", "gen", "exp"), now)
        return Claims(UUID(content["sub"]), UUID(content["sid"]), int(content["gen"])) if content else None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A right password that waits for its code. It holds for one sign-in, and no longer than the user's generation.

    ``uses``: how often the second factor had been used.
    """

    user_id: UUID
    generation: int
    uses: int


class Challenges:
    """The same kind of token under a key of its own, so that neither passes for the other."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [derive_key(secret, "login-challenge") for secret in secrets]

    def issue(self, challenge: Challenge, now: datetime) -> str:
        content = {
            "sub": str(challenge.user_id),
            "gen": challenge.generation,
            "use": challenge.uses,
            "exp": int((now + CHALLENGE_LASTS).timestamp()),
        }
        return jwt.encode(content, self._keys[0], algorithm=ALGORITHM)

    def read(self, token: str, now: datetime) -> Challenge | None:
        """None for a token that is not ours, was altered, or has ended."""
        content = _read(self._keys, token, ("sub", "gen", "use", "exp"), now)
        return Challenge(UUID(content["sub"]), int(content["gen"]), int(content["use"])) if content else None


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


def _read(keys: Sequence[bytes], token: str, required: Sequence[str], now: datetime) -> dict[str, Any] | None:
    if len(token) > TOKEN_MAX_CHARS:
        return None
    options: jwt.types.Options = {"require": list(required), "verify_exp": False, "verify_iat": False}
    for key in keys:
        try:
            content: dict[str, Any] = jwt.decode(token, key, algorithms=[ALGORITHM], options=options)
        except jwt.InvalidTokenError:
            continue
        return content if datetime.fromtimestamp(content["exp"], UTC) > now else None
    return None


def _signature(key: bytes, nonce: str, user_id: UUID | None) -> str:
    return hmac.new(key, f"{nonce}|{user_id or 'anonymous'}".encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
