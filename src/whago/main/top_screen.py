"""How a live view of gateways looks on a terminal: the busiest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from whago.main.naming import Namer

if TYPE_CHECKING:
    from whago.main.top import View

CHIP_ROWS: Final = 15
OTHER_ROWS: Final = 6
LATE_REPORT_S: Final = 10.0  # two heartbeats: the control plane does not answer
SLOW_LOOP_S: Final = 0.1  # what people begin to feel in a tunnel
NAMES: Final = ("chip", "customer", "proxy", "reason")  # columns of words; the others are figures
UNITS: Final = ("B", "kB", "MB", "GB")


def screen(before: View, after: View, namer: Namer) -> RenderableType:
    """``after`` as tables; what it counts in totals is shown as what was added since ``before``."""
    chips = sorted(after.chips.values(), key=lambda chip: (-chip["rate"], chip["id"]))[:CHIP_ROWS]
    users, proxies = after.users.most_common(OTHER_ROWS), after.proxies.most_common(OTHER_ROWS)
    namer.learn(
        users=[*(user for user, _ in users), *(chip["user"] for chip in chips)],
        chips=[chip["id"] for chip in chips],
        proxies=[*(proxy for proxy, _ in proxies), *(chip["proxy"] for chip in chips)],
    )
    return Group(
        _head(before, after),
        _table("Processes", ["port", "pid", "tunnels", "opening", "loop lag", "last report"], _processes(after)),
        _table(
            "Chips",
            ["chip", "customer", "proxy", "tunnels", "rate"],
            [
                [namer[chip["id"]], namer[chip["user"]], namer[chip["proxy"]], str(chip["tunnels"]), rate(chip["rate"])]
                for chip in chips
            ],
        ),
        _table("Customers", ["customer", "rate"], [[namer[one], rate(value)] for one, value in users]),
        _table("Proxies", ["proxy", "rate"], [[namer[one], rate(value)] for one, value in proxies]),
        _table("Refusals", ["reason", "in all", "per second"], _refusals(before, after)),
    )


def rate(value: float) -> str:
    """Bytes per second, decimal as plans are: 1 kB is 1000 bytes."""
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            return f"{value:.0f} {unit}/s" if unit == UNITS[0] else f"{value:.1f} {unit}/s"
        value /= 1000
    raise AssertionError("the last unit ends the search")


def added(before: Counter[str], after: Counter[str], name: str, seconds: float) -> float:
    """Per second; a process that started anew has nothing to subtract from."""
    return max(0, after[name] - before[name]) / max(seconds, 0.001)


def _head(before: View, after: View) -> Text:
    seconds = after.at - before.at
    totals = {name: added(before.totals, after.totals, name, seconds) for name in after.totals}
    parts = [
        f"{_count(sum(one['tunnels'] for one in after.processes), 'tunnel')}"
        f" in {_count(len(after.processes), 'process', 'processes')}",
        f"{totals['opened']:.0f} opened/s",
        f"up {rate(totals['up'])}",
        f"down {rate(totals['down'])}",
        f"handshakes {rate(totals['overhead'])}",
        f"{totals['lease_waits']:.1f} lease waits/s",
        _count(sum(after.refusals.values()), "refusal"),
    ]
    return Text(" · ".join(parts), style="bold")


def _processes(after: View) -> list[Sequence[str | Text]]:
    return [
        [
            f"{one['port']} (status {one['status_port']})",
            str(one["pid"]),
            str(one["tunnels"]),
            str(one["handshakes"]),
            _marked(f"{one['loop_lag_s'] * 1000:.0f} ms", one["loop_lag_s"] > SLOW_LOOP_S),
            _marked(f"{one['report_age_s']:.1f} s ago", one["report_age_s"] > LATE_REPORT_S),
        ]
        for one in after.processes
    ]


def _refusals(before: View, after: View) -> list[Sequence[str | Text]]:
    seconds = after.at - before.at
    return [
        [reason, str(total), f"{added(before.refusals, after.refusals, reason, seconds):.1f}"]
        for reason, total in after.refusals.most_common(OTHER_ROWS)
    ]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _marked(text: str, is_bad: bool) -> Text:
    return Text(text, style="bold red" if is_bad else "")


def _table(title: str, columns: list[str], rows: Iterable[Sequence[Any]]) -> Table:
    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 3, 0, 0)
    )
    for number, column in enumerate(columns):
        table.add_column(column, header_style="dim", justify="left" if number == 0 or column in NAMES else "right")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    return table
