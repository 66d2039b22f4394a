"""The site: `make docs` builds it from these pages and the docstrings of the public names."""

from __future__ import annotations

project = "ToolPRM-JAX"
author = "The ToolPRM-JAX authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the docstrings
napoleon_google_docstring = True
napoleon_numpy_docstring = False
myst_heading_anchors = 3
# Links to files beside the pages; tests/test_docs.py holds that they are there.
suppress_warnings = ["myst.xref_missing"]
