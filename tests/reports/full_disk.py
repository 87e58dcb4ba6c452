"""Archives in a process whose files may not grow past a hundred bytes. Arguments: database URL, data folder.

Prints the code of the refusal. What it prints goes through a pipe, which has no size.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from tests.conftest import SECRET
from tests.factories import TZ
from tests.reports.ground import IN_OCTOBER
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.tasks.clock import Tools
from whago.tasks.retention import Retention


def main() -> None:
    url, folder = sys.argv[1:]
    db.connect(url)
    tools = Tools(Vault([SECRET]), TZ, data_dir=Path(folder), ledger_months=2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        Retention(free_bytes_min=0).archive(tools, IN_OCTOBER.replace(year=2027, month=2))
    except WhagoError as error:
        print(error.code)


if __name__ == "__main__":
    main()
