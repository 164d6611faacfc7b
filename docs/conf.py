"""How Sphinx builds the documentation.

.venv/bin/python -m sphinx -W -b html docs build/docs
"""

import sys
from pathlib import Path

import mlr_jax

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "mlr_jax"
author = "mlr_jax developers"
copyright = author  # Sphinx's name for it.
version = release = mlr_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "complete_reference",
    "included_links",
]
documented_package = "mlr_jax"
exclude_patterns = ["examples", "extensions"]

html_theme = "furo"
html_title = f"mlr_jax {version}"
myst_enable_extensions = ["dollarmath", "substitution"]
myst_substitutions = {"version": version}
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
napoleon_numpy_docstring = False
# Fields come as a list in the class, since a NamedTuple's are no methods.
napoleon_use_ivar = True
