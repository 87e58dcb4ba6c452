"""Takes the pictures of the README from a running ``./whago up --demo``, in the system's Chromium.

``python scripts/screenshots.py --url http://127.0.0.1:8000 --admin PASSWORD --customer EMAIL:PASSWORD``, as the demo
printed them. The chips picture is of the customer, light; the overview is dark, so that both themes are to be seen.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from whago.main.chromium import obtain_chromium

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
ADMIN_EMAIL = "admin@whago.local"
WIDTH, HEIGHT = 1440, 900
SETTLED_MS = 40_000  # most of the live throughput's minute is drawn by then


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    path: str
    of_admin: bool
    theme: Literal["light", "dark"] = "light"


PICTURES = (
    Picture("dashboard", "/dashboard?by=chip", of_admin=False),
    Picture("chips", "/chips", of_admin=False),
    Picture("admin-overview", "/admin", of_admin=True, theme="dark"),
    Picture("admin-proxies", "/admin/proxies?tab=stats", of_admin=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--admin", required=True, help="the administrator's password")
    parser.add_argument("--customer", required=True, help="EMAIL:PASSWORD")
    options = parser.parse_args()
    customer = options.customer.partition(":")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(obtain_chromium()), args=["--no-sandbox"])
        for one in PICTURES:
            login = (ADMIN_EMAIL, options.admin) if one.of_admin else (customer[0], customer[2])
            take(browser, options.url, one, login)
        browser.close()


def take(browser: Browser, url: str, one: Picture, login: tuple[str, str]) -> None:
    context = browser.new_context(
        base_url=url,
        locale="pt-BR",
        timezone_id="America/Sao_Paulo",
        color_scheme=one.theme,
        viewport={"width": WIDTH, "height": HEIGHT},
    )
    page = context.new_page()
    answer = page.request.post("/api/v1/auth/login", data={"email": login[0], "password": login[1]})
    assert answer.ok, answer.text()
    page.goto(one.path)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=IMAGES / f"{one.name}.png")
    context.close()


if __name__ == "__main__":
    main()
