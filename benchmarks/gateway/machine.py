"""The machine in one line, and its descriptors."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from typing import Final

_CONGESTION: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
WANTED_DESCRIPTORS: Final = 65_536  # 5,000 idle tunnels need 10,000 in a gateway


def raise_descriptors() -> int:
    """As many as are wanted or allowed, for us and our children; returns what was got."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((WANTED_DESCRIPTORS, WANTED_DESCRIPTORS), (hard, hard)):
        if soft >= WANTED_DESCRIPTORS:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit[0], max(limit[1], hard)))
            break
        except (ValueError, OSError):  # only root may raise the hard limit
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe() -> str:
    """Cores, processor, memory, kernel, its congestion control, Python, and how busy others keep it."""
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores ({_processor()}), {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"TCP sends by {_CONGESTION.read_text().strip()} unless told otherwise, "
        f"CPython {platform.python_version()}, load average {os.getloadavg()[0]:.1f} before the run"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
