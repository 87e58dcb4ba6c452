"""``python -m benchmarks.gateway.crowd``: ten thousand tunnels through two processes on one port, and afterwards.

What they cost, what a tunnel that talks notices of them, and what is left when they are gone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.gateway.build import build
from benchmarks.gateway.ends import TARGET, FarEnd, NearEnd
from benchmarks.gateway.install import Unavailable
from benchmarks.gateway.machine import describe, raise_descriptors
from benchmarks.gateway.processes import Running
from benchmarks.gateway.product import ProductDatabase
from whago.main.embedded import free_port, private_data_dir

TUNNELS: Final = 10_000
PROCESSES: Final = 2
CHIPS_PER_USER: Final = 25
TUNNELS_PER_CHIP: Final = 25  # the product allows 32
ROOMY_GB: Final = Decimal(1000)
OPEN_MS: Final = 120_000
ECHO_MS: Final = 2_000
IN_FLIGHT: Final = 64
WARM_UP: Final = 400
MOST_KIB: Final = 4.0  # an idle tunnel: twice the target at 5,000, because each process has fixed parts of its own
RECOVERY_S: Final = 30.0
CANNOT_RUN: Final = 2


def main() -> int:
    options = _options()
    raise_descriptors()
    _say(describe())
    with ExitStack() as stack:
        try:
            wire = build(Path(stack.enter_context(TemporaryDirectory(prefix="whago-wire-"))))
        except Unavailable as why:
            print(f"benchmarks.gateway.crowd: {why}.", file=sys.stderr)
            return CANNOT_RUN
        product = stack.enter_context(ProductDatabase())
        far = stack.enter_context(FarEnd(wire))
        product.point_at(far.auth)
        folder = private_data_dir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        credentials = folder / "credentials"
        credentials.write_text("".join(f"{basic}\n" for basic in _credentials(product, options.tunnels)))
        port = free_port()
        command = product.gateway(folder, port, options.processes)
        running = stack.enter_context(Running(command.argv, command.env, folder, port))
        time.sleep(options.processes)  # the port answers when the first of them does
        near = stack.enter_context(NearEnd(wire, "http", port, TARGET, credentials))
        return _crowd(running, near, options.tunnels)


def _crowd(running: Running, near: NearEnd, tunnels: int) -> int:
    near.setup(WARM_UP, OPEN_MS, IN_FLIGHT)
    alone, before = near.echo(ECHO_MS), running.memory_kib()
    began = time.monotonic()
    opened = near.open(tunnels, OPEN_MS, IN_FLIGHT)
    took_s = time.monotonic() - began
    crowded, kib = near.echo(ECHO_MS), (running.memory_kib() - before) / max(1, opened.count)
    near.drop()
    recovered = _within(RECOVERY_S, lambda: near.setup(WARM_UP, OPEN_MS, IN_FLIGHT).failed == 0)
    left = (running.memory_kib() - before) / max(1, opened.count)
    _say(f"opened        {opened.count:,} of {tunnels:,} in {took_s:.1f} s, {opened.failed} failed {opened.problem}")
    _say(f"memory        {kib:.2f} KiB of process memory a tunnel, {left:.2f} after they were gone")
    _say(f"echo, alone   p50 {alone.p50_us:.0f} µs, p99 {alone.p99_us:.0f} µs")
    _say(f"echo, crowded p50 {crowded.p50_us:.0f} µs, p99 {crowded.p99_us:.0f} µs")
    _say(f"afterwards    {'new tunnels open at once' if recovered else 'NEW TUNNELS FAIL'}")
    return 0 if opened.count == tunnels and kib <= MOST_KIB and recovered else 1


def _credentials(product: ProductDatabase, tunnels: int) -> list[str]:
    customers = -(-tunnels // (CHIPS_PER_USER * TUNNELS_PER_CHIP))
    return [chip.basic for _ in range(customers) for chip in product.customer(ROOMY_GB, CHIPS_PER_USER)[1]]


def _within(longest_s: float, works: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline:
        if works():
            return True
    return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway.crowd", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--tunnels", type=int, default=TUNNELS)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
