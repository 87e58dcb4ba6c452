"""``python -m benchmarks.gateway``: see ``--help``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.gateway.build import build
from benchmarks.gateway.exactness import Account, Exactness
from benchmarks.gateway.install import Cache, Unavailable
from benchmarks.gateway.machine import describe, raise_descriptors
from benchmarks.gateway.peer import CLIENTS, Peer, make_clients
from benchmarks.gateway.peers import ALL
from benchmarks.gateway.phases import QUICK, Effort
from benchmarks.gateway.product import ProductDatabase
from benchmarks.gateway.report import Head, as_json, figures_of, markdown
from benchmarks.gateway.run import Bench, install_all, measure_rounds, stall_everybody
from benchmarks.gateway.targets import judge
from whago.main.leash import StartError

FOLDER: Final = Path(__file__).parent
ROUNDS: Final = 3
STALL_S: Final = 30.0
QUICK_STALL_S: Final = 2.0
CANNOT_RUN: Final = 2
STOPPED: Final = 143
MISSED: Final = 1  # exit status when a target was measured and missed


def main() -> int:
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(STOPPED)
    )  # leave by the same door as Ctrl-C: everything is stopped
    options = _options()
    peers = _chosen(options.only)
    with ExitStack() as stack:
        try:
            wire = build(Path(stack.enter_context(TemporaryDirectory(prefix="whago-wire-"))))
        except Unavailable as why:
            print(f"benchmarks.gateway: {why}.", file=sys.stderr)
            return CANNOT_RUN
        head = _head(options)
        _say(f"{head.machine}; {head.descriptors:,} descriptors")
        bench = Bench(wire, make_clients(CLIENTS), _product(stack, peers), _say)
        _say("Installing what is missing")
        entries = install_all(bench, Cache(options.cache.resolve()), peers)
        _say("Measuring")
        measure_rounds(bench, entries, _effort(options), options.rounds)
        _say(f"Clients that do not read, everybody at once, {options.stall_s:g} s")
        stall_everybody(bench, entries, options.stall_s)
        accounts = _check_accounts(bench, quick=options.quick)
    verdicts = judge(figures_of(entries), accounts)
    options.out.write_text(markdown(head, entries, verdicts))
    options.out.with_suffix(".json").write_text(as_json(head, entries, verdicts, accounts))
    for verdict in verdicts:
        _say(f"{verdict.word:<12} {verdict.target}  {verdict.measured}")
    _say(f"Written: {options.out} and {options.out.with_suffix('.json').name}")
    return MISSED if any(verdict.holds is False for verdict in verdicts) else 0


def _product(stack: ExitStack, peers: Sequence[Peer]) -> ProductDatabase | None:
    """Our database, when ours is to be measured and it starts; else ours is a row that says why it is missing."""
    if not any(peer.key == "ours" for peer in peers):
        return None
    try:
        return stack.enter_context(ProductDatabase())
    except StartError as why:
        _say(f"PostgreSQL: {why}")
        return None


def _check_accounts(bench: Bench, *, quick: bool) -> list[Account]:
    if bench.product is None:
        return []
    _say("Is our account right?")
    return Exactness(bench.wire, bench.product, _say).run(quick=quick)


def _effort(options: argparse.Namespace) -> Effort:
    return QUICK if options.quick else Effort()


def _head(options: argparse.Namespace) -> Head:
    return Head(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=" ".join(["python -m benchmarks.gateway", *sys.argv[1:]]),
        machine=describe(),
        descriptors=raise_descriptors(),
        rounds=options.rounds,
        idle_tunnels=_effort(options).idle_tunnels,
        stall_s=options.stall_s,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description="Our gateway beside its peers.")
    parser.add_argument(
        "--rounds", type=int, default=None, help=f"of which the medians are taken (default {ROUNDS}, quick 1)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="short phases and 1,000 idle tunnels: does everything work?"
    )
    parser.add_argument("--only", default="", help=f"comma-separated keys of {', '.join(peer.key for peer in ALL)}")
    parser.add_argument(
        "--stall-s", type=float, default=None, help=f"how long clients do not read (default {STALL_S:.0f} s)"
    )
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
