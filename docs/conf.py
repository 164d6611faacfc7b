"""Sphinx's configuration for the documentation.

.venv/bin/python -m sphinx -W -b html docs build/docs
"""

import sys
from pathlib import Path

import mlr_jax

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "mlr_jax"
author = "mlr_jax developers"
copyright = author  # Sphinx reads this name.
version = release = mlr_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "complete_reference",
    "included_links",
    "mathml",
]
documented_package = "mlr_jax"
exclude_patterns = ["examples", "extensions"]

html_theme = "furo"
html_theme_options = {
    # Lines of 110 characters.
    "light_css_variables": {"code-font-size": "0.7rem"},
}
html_title = f"mlr_jax {version}"
html_math_renderer = "mathml"
# Most blocks are formulas and tables; blocks of code name their language.
highlight_language = "none"
myst_enable_extensions = ["dollarmath", "substitution"]
myst_substitutions = {"version": version}
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Fields", "params_style")]
