"""The site: `make docs` builds it from these pages and the docstrings of the public names."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

project = "ToolPRM-JAX"
author = "The ToolPRM-JAX authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the docstrings
napoleon_google_docstring = True
napoleon_numpy_docstring = False
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests/test_tutorials.py executes the notebooks
# A link inside the site that leads nowhere, or to no such heading, ends the build. Links to the web
# are not checked, for the build needs no network; `python -m sphinx -b linkcheck` checks them.

DOCS = Path(__file__).resolve().parent
# Files of the repository that are pages of the site.
PAGES = {
    DOCS.parent / "README.md": DOCS / "index.md",
    DOCS.parent / "toolprm_jax" / "toolworld" / "CHECKPOINTS.md": DOCS / "checkpoints.md",
}


def site_links(text: str, file: Path) -> str:
    """A file's text with its links as the site has them.

    Args:
      text: Markdown.
      file: where it lies; links are relative to it.
    """

    def link(match: re.Match[str]) -> str:
        target = (file.parent / match[1]).resolve()
        return f"]({os.path.relpath(PAGES.get(target, target), DOCS)}"

    return re.sub(r"\]\((?!\w+:)([^)#\s]+)", link, text)


def setup(app: Sphinx) -> None:
    """Has the links of pages, and of files that pages include, changed as they are read."""

    def read(_: Sphinx, name: str, source: list[str]) -> None:
        file = DOCS / f"{name}.md"
        if file.exists():
            source[0] = site_links(source[0], file)

    def include(_: Sphinx, file: Path, page: str, source: list[str]) -> None:
        source[0] = site_links(source[0], DOCS / file)

    app.connect("source-read", read)
    app.connect("include-read", include)
