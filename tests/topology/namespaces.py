"""Machines of one's own: network namespaces, each with an address on one switch. Takes root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from tests.topology.debian import Place

NETWORK: Final = "10.77.31"
CLONE_NEWNET: Final = 0x40000000  # sched.h
NO_RIGHT: Final = "machines as network namespaces take root, iproute2 and the right to make them"

_libc: Final = ctypes.CDLL(None, use_errno=True)


@contextmanager
def machines(*names: str) -> Iterator[dict[str, Place]]:
    """One namespace for each name, with an address of its own, joined by a switch. Skips where they cannot be had."""
    own = f"whago{os.getpid()}"
    with ExitStack() as stack:
        _made(stack, f"{own}-switch")
        _ip(f"{own}-switch", "link", "add", "switch", "type", "bridge")
        _ip(f"{own}-switch", "link", "set", "switch", "up")
        places = {}
        for number, name in enumerate(names, start=2):
            place = places[name] = Place(f"{NETWORK}.{number}", f"{own}-{name}")
            _made(stack, f"{own}-{name}")
            _plug_in(place, f"{own}-switch", f"port{number}")
        yield places


@contextmanager
def inside(place: Place) -> Iterator[None]:
    """This thread opens its connections on that machine; what it opens stays there."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{place.namespace}") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _made(stack: ExitStack, namespace: str) -> None:
    try:
        made = subprocess.run(["ip", "netns", "add", namespace], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip(NO_RIGHT)
    if made.returncode != 0:
        pytest.skip(f"{NO_RIGHT}: {made.stderr.decode().strip()}")
    stack.callback(subprocess.run, ["ip", "netns", "delete", namespace], check=True)


def _plug_in(place: Place, switch: str, port: str) -> None:
    assert place.namespace is not None
    _ip(switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", place.namespace)
    _ip(switch, "link", "set", port, "master", "switch", "up")
    _ip(place.namespace, "addr", "add", f"{place.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip(place.namespace, "link", "set", device, "up")


def _ip(namespace: str, *arguments: str) -> None:
    done = subprocess.run(["ip", "-n", namespace, *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{NO_RIGHT}: {done.stderr.decode().strip()}")


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
