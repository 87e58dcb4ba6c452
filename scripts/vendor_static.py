"""Copies the front-end files that pages use from npm packages into the repository, with licences and versions.

Run it after a version below changes: ``python scripts/vendor_static.py``. It needs ``npm`` on the PATH. Running the
product needs neither npm nor a network: what is copied is committed, and ``vendored.json`` says what came from where.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

ICONS = (
    "activity alarm-clock arrow-down arrow-left arrow-right-left arrow-up ban bell bell-off calendar-days"
    " chart-bar-stacked chart-column check chevron-down chevron-right circle-alert circle-check copy cpu download"
    " ellipsis file-text gauge globe info key-round languages layers layout-dashboard log-out mail menu monitor"
    " moon network pause pencil play plug plus printer qr-code refresh-cw scroll-text search server server-cog"
    " settings shield-alert smartphone sun trash-2 triangle-alert unplug user-round users wifi-off x"
)
ROOT = Path(__file__).resolve().parent.parent
FOR_PAGES = ROOT / "src/whago/web/static/vendor"
FOR_TESTS = ROOT / "tests/e2e/vendor"
MANIFEST = "vendored.json"


@dataclass(frozen=True, slots=True)
class Package:
    """One npm package: ``files`` maps a path inside it to the name that it gets here."""

    name: str
    version: str
    folder: str
    files: dict[str, str]


PACKAGES = {
    FOR_PAGES: [
        Package("htmx.org", "2.0.11", "htmx", {"dist/htmx.min.js": "htmx.min.js"}),
        Package("idiomorph", "0.8.0", "idiomorph", {"dist/idiomorph-ext.min.js": "idiomorph-ext.min.js"}),
        Package(
            "uplot",
            "1.6.32",
            "uplot",
            {"dist/uPlot.iife.min.js": "uPlot.min.js", "dist/uPlot.min.css": "uPlot.min.css"},
        ),
        Package(
            "@fontsource-variable/inter",
            "5.3.0",
            "inter",
            {
                "files/inter-latin-wght-normal.woff2": "inter-latin.woff2",
                "files/inter-latin-ext-wght-normal.woff2": "inter-latin-ext.woff2",
            },
        ),
        Package("uqr", "0.1.3", "uqr", {"dist/index.mjs": "uqr.js"}),
        Package("lucide-static", "1.62.0", "lucide", {f"icons/{name}.svg": f"{name}.svg" for name in ICONS.split()}),
    ],
    FOR_TESTS: [Package("axe-core", "4.14.1", "axe", {"axe.min.js": "axe.min.js"})],
}


def main() -> None:
    for folder, packages in PACKAGES.items():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        entries = [copy_package(package, folder) for package in packages]
        (folder / MANIFEST).write_text(json.dumps(entries, indent=2) + "\n")


def copy_package(package: Package, folder: Path) -> dict[str, object]:
    """Copies one package's files and licence; returns its entry for the manifest."""
    target = folder / package.folder
    target.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        contents = unpack(package, Path(scratch))
        facts = json.loads((contents / "package.json").read_text())
        for source, name in {**package.files, "LICENSE": "LICENSE"}.items():
            shutil.copyfile(contents / source, target / name)
    return {
        "package": package.name,
        "version": facts["version"],
        "licence": facts["license"],
        "homepage": facts.get("homepage"),
        "sha256": {f"{package.folder}/{path.name}": digest(path) for path in sorted(target.iterdir())},
    }


def unpack(package: Package, scratch: Path) -> Path:
    """The package's contents, fetched by npm and unpacked into ``scratch``."""
    subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"], cwd=scratch, check=True, capture_output=True
    )
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    return scratch / "package"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
