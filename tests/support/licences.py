"""The licences of what setup.cfg asks for; prints docs/licences.md."""

from __future__ import annotations

import configparser
import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0 (matplotlib's)",
}
# Of extras that the development environment leaves out, as the projects state them.
_ELSEWHERE = {
    "apache-beam": "Apache-2.0",
    "furo": "MIT",
    "gcsfs": "BSD-3-Clause",
    "llama-cpp-python": "MIT",
    "llguidance": "MIT",
    "myst-nb": "BSD-3-Clause",
    "peft": "Apache-2.0",
    "sphinx": "BSD-2-Clause",
    "torch": "BSD-3-Clause",
    "wandb": "MIT",
}
_PAGE = """# Licences of dependencies

What `setup.cfg` asks for, by the metadata of the installed packages, or as the project states it
where an extra isn't installed. `python tests/support/licences.py > docs/licences.md` writes this
page, and a test holds it to `setup.cfg`. No package here is under the GPL, the AGPL or a licence
that forbids a use; MPL-2.0 asks for changes of its own files alone. What these packages need in
their turn is not listed.

| package | wanted by | licence |
|---|---|---|
"""


def wanted() -> dict[str, list[str]]:
    """By package: the extras that want it, "" for the library itself."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    parts = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    found: dict[str, list[str]] = {}
    for extra, lines in parts.items():
        for line in lines.strip().splitlines():
            name = re.match(r"[\w.-]+", line)
            assert name is not None
            found.setdefault(name[0], []).append(extra)
    return found


def licence_of(package: str) -> str | None:
    """What a package's metadata says in SPDX's words; None where it isn't installed."""
    try:
        said = metadata.metadata(package).json
    except metadata.PackageNotFoundError:
        return None
    if said.get("license_expression"):
        return str(said["license_expression"])
    classifiers = said.get("classifier", [])
    for words, spdx in _CLASSIFIERS.items():
        if f"License :: OSI Approved :: {words}" in classifiers:
            return spdx
    text = " ".join(str(said.get("license", "")).split())
    return "Apache-2.0" if re.match(r"Apache (License|2\.0)", text) else text


def page() -> str:
    """The page."""
    rows = []
    for package, extras in sorted(wanted().items()):
        who = ", ".join(f"`[{extra}]`" if extra else "the library" for extra in extras)
        rows.append(f"| {package} | {who} | {licence_of(package) or _ELSEWHERE[package]} |\n")
    return _PAGE + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
