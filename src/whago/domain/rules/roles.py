"""Who may do what: four roles, and what each of them may do in the administration.

Everybody has chips, channels and settings of their own; a role only adds to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    ADMIN = "admin"
    SUPPORT = "support"  # sees the whole administration, changes nothing
    FINANCE = "finance"  # sees what things cost, and settles vendors' bills
    USER = "user"  # a customer


class Permit(StrEnum):
    """What a route of the administration asks for."""

    LOOK = "look"  # customers, chips, the pool, alerts, the audit log, the system
    CHANGE = "change"  # all of it
    COSTS = "costs"  # reports, bills, plans, providers and their prices
    BILLS = "bills"  # vendors' bills and files of reports


PERMITS: Final[Mapping[Role, frozenset[Permit]]] = {
    Role.ADMIN: frozenset(Permit),
    Role.SUPPORT: frozenset({Permit.LOOK, Permit.COSTS}),
    Role.FINANCE: frozenset({Permit.COSTS, Permit.BILLS}),
    Role.USER: frozenset(),
}
STAFF: Final = frozenset(role for role, permits in PERMITS.items() if permits)


def may(role: str, permit: Permit) -> bool:
    """Whether somebody with this role is allowed; a role that is not known here is allowed nothing."""
    return role in PERMITS and permit in PERMITS[Role(role)]


def is_staff(role: str) -> bool:
    """Whether this is somebody of the house: any role but a customer's."""
    return role in STAFF
