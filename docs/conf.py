"""Sphinx: MyST pages, furo's theme; `make docs` builds with warnings as errors."""

project = "Henslowe"
author = "The Henslowe authors"
project_copyright = author
extensions = ["myst_parser"]
html_theme = "furo"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
