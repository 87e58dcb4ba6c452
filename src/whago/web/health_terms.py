"""The terms of a health score as sentences. English templates, which are gettext ids."""

from __future__ import annotations

from babel.numbers import format_decimal

from whago.domain.rules.health import Term
from whago.web.i18n import Translator


def term_sentence(term: Term, say: Translator) -> str:
    """What stands behind the points, also when they are none; figures as the reader writes them."""
    facts = {name: format_decimal(value, "#,##0.#", locale=say.locale) for name, value in term.facts.items()}
    match term.code:
        case "success" if not term.facts["tried"]:
            return say("no attempt lately")
        case "success":
            return say("{failed} of {tried} recent attempts failed", **facts)
        case "latency" if not facts:
            return say("not compared: fewer than three proxies of this provider are measured")
        case "latency":
            return say("latency {ratio}× the provider's median ({latency_ms} ms against {median_ms} ms)", **facts)
        case _:
            return say("{changes} silent changes of the exit IP within a day, on {chips} chips", **facts)
