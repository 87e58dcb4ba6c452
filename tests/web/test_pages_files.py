"""Static files, vendored code, and the catalog of sentences."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from fastapi import FastAPI
from jinja2.ext import babel_extract

from tests.e2e.seeding import make_admin, new_chip, ready_pool
from tests.web.page_setup import visitor
from whago.kit.crypto import Vault
from whago.providers.presets import PRESETS
from whago.web.config import LOCALES
from whago.web.pages.assets import STATIC, build, icon
from whago.web.pages.rendering import TEMPLATES, as_json, static

WEB = TEMPLATES.parent
FIRST_LOAD_MAX_BYTES = 150_000  # compressed, fonts included
VENDORED = [STATIC / "vendor", Path(__file__).parents[1] / "e2e/vendor"]


@pytest.mark.parametrize("folder", VENDORED, ids=lambda folder: folder.parent.name)
def test_vendored_files_are_what_the_manifest_says(folder: Path) -> None:
    manifest = json.loads((folder / "vendored.json").read_text())
    told = {name: digest for entry in manifest for name, digest in entry["sha256"].items()}
    there = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "vendored.json"
    }
    assert there == told
    for entry in manifest:
        assert entry["licence"]
        assert any(name.endswith("/LICENSE") for name in entry["sha256"])


def test_files_of_this_build_are_kept_for_ever_and_others_are_not(app: FastAPI) -> None:
    client = visitor(app)
    kept = client.get(static("css/tokens.css"))
    assert kept.status_code == 200
    assert "immutable" in kept.headers["Cache-Control"]
    assert client.get("/static/of-yesterday/css/tokens.css").headers["Cache-Control"] == "no-cache"
    assert client.get(f"/static/{build()}/../../app.py").status_code == 404
    assert client.get(f"/static/{build()}/%2e%2e/app.py").status_code == 404


@pytest.mark.parametrize("path", ["/login", "/dashboard", "/chips/{chip}", "/admin", "/admin/proxies?tab=stats"])
def test_the_first_load_is_light(app: FastAPI, vault: Vault, path: str) -> None:
    """Everything that a browser without anything in its cache fetches, scripts that scripts import included."""
    ready_pool(vault)
    person = make_admin()
    chip = new_chip(person, "Suporte").chip_id
    client = visitor(app, None if path == "/login" else person)
    html = client.get(path.replace("{chip}", str(chip))).text
    waiting = re.findall(r'(?:href|src)="(/static/[^"]+)"', html)
    weights = {"": len(gzip.compress(html.encode()))}
    while waiting:
        address = waiting.pop()
        if address in weights:
            continue
        content = client.get(address).content
        weights[address] = len(content if address.endswith("woff2") else gzip.compress(content))
        waiting += needed_by(address, content)
    assert len(weights) > 10
    assert sum(weights.values()) < FIRST_LOAD_MAX_BYTES, sorted(weights.items(), key=lambda item: -item[1])


def needed_by(address: str, content: bytes) -> list[str]:
    """What a script imports and a style sheet shows, except the font of rarer signs, which waits for one of them."""
    if not address.endswith((".js", ".css")):
        return []
    names = re.findall(r'(?:from\s*|import\s*|url\()"(\.{1,2}/[^"]+)"', content.decode())
    return [urljoin(address, name) for name in names if "latin-ext" not in name]


def test_nothing_static_names_another_host() -> None:
    for path in [*STATIC.glob("css/*"), *STATIC.glob("js/*"), *TEMPLATES.rglob("*.html")]:
        others = set(re.findall(r"https?://[^\s\"'<>)`]+", path.read_text()))
        assert others <= {"http://www.w3.org/2000/svg", "https://web.whatsapp.com", "http://host:port"}, path


def test_every_icon_that_pages_use_is_there() -> None:
    used = set()
    for path in TEMPLATES.rglob("*.html"):
        used |= set(re.findall(r'icon\("([a-z-]+)"\)', path.read_text()))
    assert len(used) > 10
    for name in used:
        assert icon(name).startswith("<svg")


def test_every_sentence_of_the_pages_is_in_portuguese() -> None:
    known = {message.id: message.string for message in catalog() if message.id}
    assert sentences() - set(known) == set()
    assert all(all(text) if isinstance(text, tuple) else text for text in known.values())


def test_translations_keep_the_placeholders() -> None:
    for message in catalog():
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        texts = message.string if isinstance(message.string, tuple) else (message.string,)
        for source, text in zip(ids, texts, strict=True):
            assert set(re.findall(r"\{\w+\}", source)) == set(re.findall(r"\{\w+\}", text)), source


def test_data_blocks_cannot_end_early() -> None:
    text = as_json({"a": "</script><!--&"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><!--&"}


def catalog() -> Iterator[Message]:
    """Every entry of every catalog, as the product reads them."""
    for path in sorted((LOCALES / "pt_BR/LC_MESSAGES").glob("*.po")):
        with path.open("rb") as file:
            yield from read_po(file, locale="pt_BR")


def sentences() -> set[str | tuple[str, str]]:
    """What templates, pages and the presets that pages show have to say."""
    found: set[str | tuple[str, str]] = {preset.notes for preset in PRESETS.values() if preset.notes}
    options = {"silent": "false", "trim_blocks": "true", "lstrip_blocks": "true"}
    for path in TEMPLATES.rglob("*.html"):
        for _line, name, message, _comments in babel_extract(io.BytesIO(path.read_bytes()), ["_", "many"], [], options):
            texts = [text for text in (message if isinstance(message, tuple) else (message,)) if text]
            if texts:
                found.add((texts[0], texts[1]) if name == "many" else texts[0])
    for path in (WEB / "pages").glob("*.py"):
        with path.open("rb") as file:
            keywords = {"say": None, "N_": None, "many": (1, 2)}
            for _line, message, _comments, _context in extract("python", file, keywords):
                if message:
                    found.add(message if isinstance(message, str) else (message[0], message[1]))
    return found
