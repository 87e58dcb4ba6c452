"""``demo-accounts.json`` in the data folder (0600): what the demo's next start and its traffic must know.

It holds what the database only has as hashes: the customers' passwords and the chips' gateway credentials.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from whago.main.private_files import read_secret, write_private

FILE_NAME: Final = "demo-accounts.json"


@dataclass(slots=True)
class KeptChip:
    """``id`` is the chip's UUID as text; ``token`` its gateway credential."""

    id: str
    alias: str
    token: str = field(repr=False)


@dataclass(slots=True)
class KeptCustomer:
    """``done``: chips and past usage are there, so nothing more is ever added. ``pace`` is a key of the traffic's."""

    email: str
    password: str = field(repr=False)
    name: str
    plan: str
    percent: int
    pace: str
    done: bool = False
    chips: list[KeptChip] = field(default_factory=list)


class DemoFile:
    """Every change is written at once, whole."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self.customers: dict[str, KeptCustomer] = {}
        self.read()

    def read(self) -> None:
        """Takes over what the file says; a file that is missing or broken says nothing."""
        try:
            listed = json.loads(read_secret(self._path) or "[]")
            customers = [
                KeptCustomer(**{**one, "chips": [KeptChip(**chip) for chip in one["chips"]]}) for one in listed
            ]
        except (ValueError, TypeError, KeyError):
            customers = []
        self.customers = {one.email: one for one in customers}

    def keep(self, customer: KeptCustomer) -> None:
        self.customers[customer.email] = customer
        self._path.parent.mkdir(parents=True, exist_ok=True)
        listed = [asdict(one) for one in self.customers.values()]
        write_private(self._path, json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
