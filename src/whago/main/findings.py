"""What the doctor found: the lines of its report."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: what was looked at, what was found, and what to do about it."""

    subject: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def told(self) -> dict[str, str]:
        """For programs."""
        return {"subject": self.subject, "state": self.verdict.value, "found": self.found, "remedy": self.remedy}


def open_files(enough: int, remedy: str) -> Finding:
    """How many files and sockets a process of this machine may have; fewer than ``enough`` is worth a note."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= enough:
        return Finding("Open files", Verdict.OK, "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard}")
    return Finding("Open files", Verdict.NOTE, f"at most {hard}", remedy)
