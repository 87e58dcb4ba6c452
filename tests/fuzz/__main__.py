"""``python -m tests.fuzz TARGET [--seconds 600]``: fuzz one target until the time is up or a property breaks.

Without ``--keep`` what it learns is thrown away. An input that breaks a property is written to ``--found``; run it
again with ``python -m tests.fuzz TARGET --again FILE``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

try:
    import atheris
except ImportError:
    sys.exit("tests.fuzz: atheris is not installed; it has packages for Linux on x86-64 only.")

HERE: Final = Path(__file__).parent
MAX_INPUT_BYTES: Final = 20_000  # more than twice the longest head, so that both ends of the limit are met
INPUT_S: Final = 5  # a parser that needs this long for one input hangs
MEMORY_MB: Final = 1024

with atheris.instrument_imports(
    include=["whago.gateway.protocol", "whago.gateway.counters", "whago.providers.handshake"]
):
    from tests.fuzz.properties import TARGETS


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="whago-fuzz-") as scratch:
        found = options.found or Path(scratch)
        found.mkdir(parents=True, exist_ok=True)
        kept = options.keep or Path(scratch) / "corpus"
        kept.mkdir(parents=True, exist_ok=True)
        atheris.enabled_hooks.add("RegEx")
        atheris.Setup(_arguments(options, kept, found), TARGETS[options.target])
        atheris.Fuzz()


def _arguments(options: argparse.Namespace, kept: Path, found: Path) -> list[str]:
    """libFuzzer's own command line."""
    arguments = ["tests.fuzz", f"-artifact_prefix={found}/", f"-timeout={INPUT_S}", f"-rss_limit_mb={MEMORY_MB}"]
    if options.again is not None:
        return [*arguments, str(options.again)]
    arguments += [f"-max_len={MAX_INPUT_BYTES}", f"-seed={options.seed}", "-print_final_stats=1"]
    arguments.append(f"-runs={options.runs}" if options.runs else f"-max_total_time={options.seconds}")
    dictionary = HERE / "words" / f"{options.target.partition('_')[0]}.dict"
    if dictionary.exists():
        arguments.append(f"-dict={dictionary}")
    return [*arguments, str(kept), str(HERE / "corpus" / options.target)]


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600, help="how long (default 600)")
    parser.add_argument("--runs", type=int, default=0, help="instead of a time: how many inputs")
    parser.add_argument("--seed", type=int, default=0, help="0 for another one each time")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that reached new code, to go on from")
    parser.add_argument("--found", type=Path, help="a folder for the input that broke a property")
    parser.add_argument("--again", type=Path, help="run this input only")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
