"""What an API key may do. It never may do more than its owner."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"  # whoever may change may also look
    ADMIN = "admin"  # the administration, for keys of administrators


EVERY_SCOPE: Final = (Scope.READ, Scope.WRITE, Scope.ADMIN)


def allows(held: Collection[str], wanted: Scope) -> bool:
    """Whether a key with these scopes may do something that wants one."""
    return wanted in held or (wanted is Scope.READ and Scope.WRITE in held)
