"""The targets of the data plane, judged by one run's own figures: ratios, so that any machine can judge them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.gateway.exactness import Account
from benchmarks.gateway.figures import BESIDE_IDLE, Figures, ratio_name

CPU_OF_HAPROXY: Final = 1.2
CPU_AHEAD_OF: Final = {"3proxy": 1.5, "squid": 2.5, "proxy-chain": 2.5, "proxy.py": 8.0}
SETUPS_OF_HAPROXY: Final = 0.7
ECHO_P50_OF_HAPROXY: Final = 1.3
ECHO_P99_OF_HAPROXY: Final = 1.5
ECHO_WITH_IDLE: Final = 1.1
IDLE_KIB: Final = 2.0
STALLED_KIB: Final = 64.0
NOT_PEERS: Final = (
    "none",
    "ours",
    "ours-memory",
    "haproxy",
    "haproxy-stock",
    "haproxy-tcp",
)  # who is compared otherwise, or not at all


@dataclass(frozen=True, slots=True)
class Verdict:
    """``holds`` None: the run did not measure it."""

    target: str
    measured: str
    holds: bool | None

    @property
    def word(self) -> str:
        return "NOT MEASURED" if self.holds is None else "PASS" if self.holds else "FAIL"


def judge(all_figures: Mapping[str, Figures], accounts: Sequence[Account]) -> list[Verdict]:
    """``all_figures``: medians and ratios by peer."""
    ours = all_figures.get("ours", {})

    def of_haproxy(figure: str) -> float | None:
        return ours.get(ratio_name(figure, "haproxy"))

    verdicts = [
        _at_most("CPU per GB, 16 tunnels, of HAProxy's", of_haproxy("bulk_cpu_s_per_gb"), CPU_OF_HAPROXY),
        *_cpu_ahead(all_figures),
        _at_least("tunnels set up per second, of HAProxy's", of_haproxy("setups_per_s"), SETUPS_OF_HAPROXY),
        _fastest_setups(all_figures, ours),
        _at_most("echo p50, of HAProxy's", of_haproxy("echo_p50_us"), ECHO_P50_OF_HAPROXY),
        _at_most("echo p99, of HAProxy's", of_haproxy("echo_p99_us"), ECHO_P99_OF_HAPROXY),
        *_idle_beside(ours),
        _at_most("KiB per idle tunnel", ours.get("idle_kib"), IDLE_KIB, unit=" KiB"),
        _at_most("KiB per tunnel whose client does not read", ours.get("stalled_kib"), STALLED_KIB, unit=" KiB"),
    ]
    return [*verdicts, *(Verdict(f"account: {one.name}", one.detail, one.holds) for one in accounts)]


def _cpu_ahead(all_figures: Mapping[str, Figures]) -> Iterator[Verdict]:
    for key, wanted in CPU_AHEAD_OF.items():
        times = all_figures.get(key, {}).get(ratio_name("bulk_cpu_s_per_gb", "ours"))
        yield _at_least(f"CPU per GB, 16 tunnels, better than {key}'s", times, wanted)


def _fastest_setups(all_figures: Mapping[str, Figures], ours: Figures) -> Verdict:
    target = "tunnels set up per second, above every other peer"
    peers = {key: of.get("setups_per_s") for key, of in all_figures.items() if key not in NOT_PEERS}
    rivals = {key: rate for key, rate in peers.items() if rate is not None}
    mine = ours.get("setups_per_s")
    if mine is None or not rivals:
        return Verdict(target, "", None)
    best = max(rivals, key=lambda key: rivals[key])
    return Verdict(target, f"{mine:,.0f} against {rivals[best]:,.0f} of {best}", mine > rivals[best])


def _idle_beside(ours: Figures) -> Iterator[Verdict]:
    for beside, quiet in BESIDE_IDLE.items():
        target = f"echo {quiet.removeprefix('echo_').removesuffix('_us')} with idle tunnels beside it, of that without"
        yield _at_most(target, ours.get(ratio_name(beside, quiet)), ECHO_WITH_IDLE)


def _at_most(target: str, value: float | None, most: float, unit: str = " ×") -> Verdict:
    full = f"{target}: ≤ {most:g}{unit}"
    return Verdict(full, "" if value is None else f"{value:.2f}{unit}", None if value is None else value <= most)


def _at_least(target: str, value: float | None, least: float) -> Verdict:
    full = f"{target}: ≥ {least:g} ×"
    return Verdict(full, "" if value is None else f"{value:.2f} ×", None if value is None else value >= least)
