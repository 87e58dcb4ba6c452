"""Become another program that dies with its parent: ``python -I -S leashed.py PARENT SIGNAL UID GID -- ARGV…``.

Run as a file, not imported: it is the first thing in a new process, so it needs no code between fork and exec in the
parent (``preexec_fn`` may deadlock there, because the parent has threads). UID and GID are -1 when they stay.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)
RESET_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def change_user(uid: int, gid: int) -> None:
    """Drop root for good. It must come first: the kernel forgets the death signal when the user changes."""
    if uid < 0:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death_signal: int) -> None:
    """Ask for ``death_signal`` when the parent's thread ends; end now if the parent is already gone."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def fresh_signals() -> None:
    """A signal that the parent blocks or ignores (as a shell does for ``command &``) is not the program's choice."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def main(arguments: list[str]) -> None:
    """Never returns: either the program runs, or the reason why it cannot is on stderr and the code is 127."""
    parent, death_signal, uid, gid = map(int, arguments[:4])
    argv = arguments[5:]
    change_user(uid, gid)
    fresh_signals()
    die_with(parent, death_signal)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to replace this process is the point
    except OSError as error:
        print(f"{argv[0]} does not start: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
