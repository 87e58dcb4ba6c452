"""Loads the product once and forks a gateway for every line it reads: a start costs a tenth of a second.

``python -m tests.faults.nursery``; a line is a port, the answer the new process's id. The environment is the gateways'.
"""

from __future__ import annotations

import os
import signal
import sys

from whago.main import gateway


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended, so the kernel buries them
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sys.stdin.close()
            gateway.run(host="127.0.0.1", port=int(line), status_port=None)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
