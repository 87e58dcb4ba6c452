"""``python -m benchmarks.gateway``: see ``--help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.gateway.build import build
from benchmarks.gateway.install import Cache, Unavailable
from benchmarks.gateway.machine import describe, raise_descriptors
from benchmarks.gateway.peer import CLIENTS, Peer, make_clients
from benchmarks.gateway.peers import ALL
from benchmarks.gateway.phases import QUICK, Effort
from benchmarks.gateway.product import ProductDatabase
from benchmarks.gateway.run import Bench, install_all, measure_rounds, stall_everybody

FOLDER: Final = Path(__file__).parent
ROUNDS: Final = 3
STALL_S: Final = 30.0
QUICK_STALL_S: Final = 2.0


def main() -> int:
    options = _options()
    say = _say
    peers = _chosen(options.only)
    effort = QUICK if options.quick else Effort()
    with ExitStack() as stack:
        try:
            wire = build(Path(stack.enter_context(TemporaryDirectory(prefix="whago-wire-"))))
        except Unavailable as why:
            print(f"benchmarks.gateway: {why}.", file=sys.stderr)
            return 2
        descriptors = raise_descriptors()
        say(f"{describe()}; {descriptors:,} descriptors")
        product = stack.enter_context(ProductDatabase()) if any(peer.key == "ours" for peer in peers) else None
        bench = Bench(wire, make_clients(CLIENTS), product, say)
        say("Installing what is missing …")
        entries = install_all(bench, Cache(options.cache), peers)
        measure_rounds(bench, entries, effort, options.rounds)
        stall_everybody(bench, entries, options.stall_s)
        for e in entries:
            print(e.peer.key, e.version, e.absent, e.stalled_kib, [r.figures for r in e.rounds], [r.notes for r in e.rounds])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description="Our gateway beside its peers.")
    parser.add_argument("--rounds", type=int, default=None, help=f"of which the medians are taken (default {ROUNDS}, quick 1)")
    parser.add_argument("--quick", action="store_true", help="short phases and 1,000 idle tunnels: does everything work?")
    parser.add_argument("--only", default="", help=f"comma-separated keys of {', '.join(peer.key for peer in ALL)}")
    parser.add_argument("--stall-s", type=float, default=None, help=f"how long clients do not read (default {STALL_S:.0f} s)")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.md", help="Markdown; the JSON goes beside it")
    parser.add_argument("--cache", type=Path, default=FOLDER / ".cache", help="where peers are installed")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else ROUNDS)
    if options.stall_s is None:
        options.stall_s = QUICK_STALL_S if options.quick else STALL_S
    return options


def _chosen(only: str) -> Sequence[Peer]:
    if not only:
        return ALL
    wanted = [key.strip() for key in only.split(",") if key.strip()]
    known = {peer.key: peer for peer in ALL}
    unknown = [key for key in wanted if key not in known]
    if unknown:
        sys.exit(f"benchmarks.gateway: there is no peer called {unknown[0]}: choose among {', '.join(known)}.")
    return [peer for peer in ALL if peer.key in wanted]


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
