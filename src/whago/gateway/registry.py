"""Which connections each chip has, and what a new answer about the chip means for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

from whago.gateway.control import Change, ChipPass, Refused
from whago.gateway.passes import Answer, concerns

CHIP_REFUSED = "chip_refused"
CREDENTIAL_ROTATED = "credential_rotated"
REASSIGNED = "reassigned"


class Member(Protocol):
    """A connection that was authorised: being opened, or a tunnel."""

    chip_pass: ChipPass

    def cut(self, reason: str) -> None: ...

    def abort(self, reason: str) -> None: ...

    def reprice(self, chip_pass: ChipPass) -> None: ...


class ChipRegistry:
    """Members by chip. The keys are the ids' integers: hashing a UUID costs as much as the rest of a look-up."""

    def __init__(self) -> None:
        self._chips: dict[int, dict[Member, None]] = {}

    def count(self, chip_id: UUID) -> int:
        return len(self._chips.get(chip_id.int, ()))

    def join(self, member: Member) -> None:
        self._chips.setdefault(member.chip_pass.chip_id.int, {})[member] = None

    def leave(self, member: Member) -> None:
        key = member.chip_pass.chip_id.int
        members = self._chips.get(key)
        if members is None:
            return
        members.pop(member, None)
        if not members:
            del self._chips[key]

    def take_over(self, member: Member, successor: Member) -> None:
        """``successor``, of the same chip, in the place of ``member``."""
        members = self._chips[successor.chip_pass.chip_id.int]
        members[successor] = None
        members.pop(member, None)

    def chips_concerned(self, change: Change) -> list[UUID]:
        """Chips with connections whose pass carries what has changed."""
        return [
            UUID(int=key)
            for key, members in self._chips.items()
            if any(concerns(change, member.chip_pass) for member in members)
        ]

    def everyone(self) -> Iterator[Member]:
        """A snapshot of all members."""
        return iter([member for members in self._chips.values() for member in members])

    def follow(self, chip_id: UUID, answer: Answer) -> None:
        """End what may not go on under the new answer; the rest takes over a new price."""
        for member in list(self._chips.get(chip_id.int, ())):
            reason = why_to_end(member.chip_pass, answer)
            if reason:
                member.cut(reason)
            elif isinstance(answer, ChipPass):
                member.reprice(answer)


def why_to_end(running: ChipPass, answer: Answer) -> str:
    """ "" when a connection opened under ``running`` may go on."""
    if isinstance(answer, Refused):
        return CHIP_REFUSED
    if answer.credential_hash != running.credential_hash:
        return CREDENTIAL_ROTATED
    same = (answer.assignment_id, answer.proxy_id, answer.user_id, answer.upstream) == (
        running.assignment_id,
        running.proxy_id,
        running.user_id,
        running.upstream,
    )
    return "" if same else REASSIGNED
