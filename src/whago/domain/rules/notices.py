"""What notifications say: for each kind a title and a message, English templates that double as gettext ids.

Values come from the notification's data; ``limit_bytes`` is shown as ``{limit_gb}``, a month by its name. A message
says what to do. ``RECOVERIES`` has the texts for the end of an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

RECOVERED: Final = "success"  # level of the notification that an alert has ended


@dataclass(frozen=True, slots=True)
class Notice:
    """Placeholders are ``{name}``."""

    title: str
    message: str


QUOTA_EXHAUSTED: Final[Mapping[str, Notice]] = {
    "block": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Connections were closed and new ones are refused"
        " until the month ends or your plan grows.",
    ),
    "block_new": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Open connections go on and are billed; new ones"
        " are refused.",
    ),
    "bill": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Traffic goes on and is billed.",
    ),
}
CHIPS_WAITING: Final = Notice(
    "{count} chips wait for a proxy",
    "There is no healthy proxy for {count} chips, among them {alias}. They connect as soon as there is one.",
)
QUOTA_THRESHOLD: Final = Notice(
    "{threshold}% of the proxy quota used",
    "You have used {used_gb} GB of the {limit_gb} GB of your plan for {month}.",
)

NOTICES: Final[Mapping[str, Notice]] = {
    "quota_warning": Notice(
        "80% of the proxy quota used",
        "You have used {used_gb} GB of the {limit_gb} GB of your plan for {month}.",
    ),
    "quota_exhausted": QUOTA_EXHAUSTED["block"],
    "quota_projected": Notice(
        "The proxy quota may not last the month",
        "At this pace you will have used {projected_gb} GB by the end of {month}, and your plan has {limit_gb} GB."
        " Look at which chips use most, or ask for a larger plan.",
    ),
    "chip_cost_spike": Notice(
        "A chip uses far more than usual",
        "The chip {alias} cost {day_cost} in the last 24 hours ({used_gb} GB); {usual_cost} a day is usual for it. See"
        " what it sends and downloads, and disconnect it if you do not know why.",
    ),
    "chip_waiting_proxy": Notice(
        "A chip waits for a proxy",
        "There is no healthy proxy for the chip {alias}. It connects as soon as there is one.",
    ),
    "proxy_failed_over": Notice(
        "A chip moved to another proxy",
        "The proxy of the chip {alias} failed, so the chip now uses another one.",
    ),
    "exit_ip_changed": Notice(
        "The exit IP of a chip changed",
        "The chip {alias} now leaves from {after}; before it was {before}.",
    ),
    "duplicate_exit_ip": Notice(
        "Two chips share an exit IP",
        "The chip {alias} leaves from {exit_ip}, as another chip does.",
    ),
    "provider_down": Notice(
        "A proxy provider is down",
        "The provider {provider} does not answer. Its chips move to other providers while there is room. Look at the"
        " provider's own status page and test its login under Proxies.",
    ),
    "proxy_ejected": Notice(
        "A proxy was taken out of the pool",
        "The proxy {proxy} of {provider} failed too often and gets no chips until it recovers. Test it under Proxies if"
        " this lasts.",
    ),
    "provider_balance_low": Notice(
        "A provider's balance is low",
        "{provider} has {balance_gb} GB left. Buy more there before its chips stop.",
    ),
    "bill_mismatch": Notice(
        "A provider bills something else than we metered",
        "{provider} says {vendor_gb} GB for {day}, and we metered {expected_gb} GB. Compare both under Proxies before"
        " you pay.",
    ),
    "gateway_silent": Notice(
        "A gateway is silent",
        "The gateway on {host} (process {pid}) has not reported since {since_at}. Look whether its process and the"
        " database run; what it metered is in its counter file and is settled when a gateway starts there again.",
    ),
    "bridge_silent": Notice(
        "A WhatsApp bridge is silent",
        "The bridge at {url} has not been heard of since {since_at}. Chips of it that run nowhere yet: {count}. The"
        " other bridges take them by themselves as far as they have room; start this one again, or another one.",
    ),
    "scheduler_silent": Notice(
        "The clocks stand still",
        "No clock has run since {since_at}. Start the worker again: until then nothing is monitored, and chips that"
        " lose their proxy or wait for one get none.",
    ),
    "ledger_mismatch": Notice(
        "Totals differed from the ledger",
        "{count} totals did not agree with the ledger and were set right. Look at the log of the worker.",
    ),
    "channel_disabled": Notice(
        "An alert channel was switched off",
        "{name} failed {failures} times in a row, last with: {reason}. Nothing is sent there until you put it right and"
        " switch it on again under alert channels.",
    ),
    "monthly_report": Notice(
        "Your usage report for {month}",
        "Your chips used {used_gb} GB, which cost {traffic_cost}. How much each of the {chips} chips used is under"
        " Usage, where you can also take it as a file.",
    ),
    "monthly_summary": Notice(
        "Report for {month}",
        "{customers} customers used {used_gb} GB, which cost {traffic_cost}. Their plans bring {plans_cost}, which"
        " leaves {left_cost}. The details are under Reports.",
    ),
    "daily_summary": Notice(
        "Traffic of {day}",
        "{chips} chips of {customers} customers used {used_gb} GB, which cost {traffic_cost}.",
    ),
}

RECOVERIES: Final[Mapping[str, Notice]] = {
    "quota_warning": Notice(
        "The proxy quota is below the warning again",
        "You have used {used_gb} GB of the {limit_gb} GB of your plan for {month}. There is nothing to do.",
    ),
    "quota_exhausted": Notice(
        "There is proxy quota again",
        "You have used {used_gb} GB of the {limit_gb} GB of your plan for {month}. Chips connect again.",
    ),
    "quota_projected": Notice(
        "The proxy quota will last the month",
        "At this pace you will have used {projected_gb} GB of {limit_gb} GB by the end of {month}.",
    ),
    "chip_cost_spike": Notice(
        "A chip uses as much as usual again",
        "The chip {alias} is back to its usual traffic.",
    ),
    "chip_waiting_proxy": Notice(
        "Chips have a proxy again", "No chip of yours waits for a proxy any more. There is nothing to do."
    ),
    "proxy_failed_over": Notice(
        "Moved chips work again", "Chips that moved to another proxy work through it. There is nothing to do."
    ),
    "exit_ip_changed": Notice(
        "The exit IP of a chip is steady again", "The chip {alias} keeps its exit IP. There is nothing to do."
    ),
    "duplicate_exit_ip": Notice(
        "Two chips no longer share an exit IP", "The chip {alias} no longer leaves from {exit_ip} with another chip."
    ),
    "provider_down": Notice("A proxy provider is back", "The provider {provider} answers again."),
    "proxy_ejected": Notice(
        "A proxy is back in the pool", "The proxy {proxy} of {provider} works again and gets chips."
    ),
    "provider_balance_low": Notice("A provider's balance is fine again", "{provider} has {balance_gb} GB left."),
    "bill_mismatch": Notice("A provider's bill agrees again", "What {provider} bills agrees with what we metered."),
    "gateway_silent": Notice(
        "A gateway is no longer silent",
        "The gateway on {host} (process {pid}) reports again, or what it metered last was settled.",
    ),
    "bridge_silent": Notice(
        "A WhatsApp bridge is no longer missing",
        "A bridge answers at {url} again, or other bridges run its chips.",
    ),
    "scheduler_silent": Notice("The clocks run again", "The worker runs again, and what was due is being caught up."),
    "ledger_mismatch": Notice("Totals agree with the ledger again", "The last check found no difference."),
    "channel_disabled": Notice("An alert channel is on again", "{name} was switched on again."),
}
UNKNOWN: Final = Notice("Notice", "")


def notice_for(kind: str, data: Mapping[str, Any], level: str | None = None) -> Notice:
    """The templates of one notification; a kind that is not known here gets an empty message."""
    if level == RECOVERED and kind in RECOVERIES:
        return RECOVERIES[kind]
    if kind == "quota_exhausted":
        return QUOTA_EXHAUSTED.get(str(data.get("on_limit")), QUOTA_EXHAUSTED["block"])
    if kind == "quota_warning" and "threshold" in data:
        return QUOTA_THRESHOLD
    if kind == "chip_waiting_proxy" and data.get("count", 1) != 1:
        return CHIPS_WAITING
    return NOTICES.get(kind, UNKNOWN)
