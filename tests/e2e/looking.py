"""How a page or a dialog is looked at: in two themes and two widths, by axe-core and by its own width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Page, ViewportSize

from tests.e2e.conftest import PATIENCE_MS


@dataclass(frozen=True, slots=True)
class Look:
    """A theme and a width. ``rules`` of axe-core that are asked in it; none: all of them."""

    scheme: Literal["light", "dark"]
    viewport: ViewportSize
    rules: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.scheme} {self.viewport['width']}"


AXE: Final = (Path(__file__).parent / "vendor/axe/axe.min.js").read_text()
# What a theme or a width can change in a document whose names and roles were looked at in another one.
LOOK_RULES: Final = ("color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size")
DESK: Final[ViewportSize] = {"width": 1440, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
LOOKS: Final = {
    "pt-BR": (
        Look("light", DESK),
        Look("light", PHONE, LOOK_RULES),
        Look("dark", PHONE, LOOK_RULES),
        Look("dark", DESK, LOOK_RULES),
    ),
    "en-US": (
        Look("dark", PHONE),
        Look("dark", DESK, LOOK_RULES),
        Look("light", DESK, LOOK_RULES),
        Look("light", PHONE, LOOK_RULES),
    ),
}
# One errand of the browser: waits until nothing is busy and nothing has to be scrolled sideways (charts follow a new
# width in their own time), brings what moves to its end (ends begin others: colours are inherited), then asks axe-core.
# Answers what is wrong.
INSPECT: Final = """async ([part, rules, patience]) => {
  const deadline = performance.now() + patience;
  const wrongs = () => [
    ...(document.querySelector("[aria-busy=true]") ? ["still busy"] : []),
    ...(document.documentElement.scrollWidth > innerWidth ? ["wider than the screen"] : []),
  ];
  while (wrongs().length && performance.now() < deadline) await new Promise((done) => setTimeout(done, 20));
  for (let left = 20; document.getAnimations().length && left; left -= 1) {
    for (const one of document.getAnimations()) {
      if (one.effect.getComputedTiming().endTime === Infinity) one.cancel();
      else one.finish();
    }
  }
  const options = { resultTypes: ["violations"], preload: false, iframes: false };
  if (rules.length) options.runOnly = rules;
  const { violations } = await axe.run(part, options);
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = ({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`);
  return [...wrongs(), ...serious.flatMap(told)];
}"""


def looked_at(page: Page, looks: Sequence[Look], part: str = "html") -> Iterator[str]:
    """What is wrong in any of the looks. Leaves the page in the last one."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    for look in looks:
        page.emulate_media(color_scheme=look.scheme)
        page.set_viewport_size(look.viewport)
        for told in page.evaluate(INSPECT, [part, look.rules, PATIENCE_MS]):
            yield f"{look}: {told}"
