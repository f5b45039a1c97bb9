"""How Sphinx builds these pages."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "clgkit"
author = "The clgkit developers"
copyright = author  # noqa: A001  (Sphinx's name)
release = metadata.version("clgkit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "clgkit_directives"]
exclude_patterns = ["_build", "_extensions"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
numpydoc_show_class_members = False

html_math_renderer = "mathtext"
html_theme = "furo"
html_title = "clgkit"
html_static_path = ["_static"]
html_css_files = ["formula.css"]
