"""How Sphinx makes the site: `make site`, which puts the pages together (`tools/build_site.py`) and calls it."""

import os
from importlib.util import find_spec

from sphinx.application import Sphinx

from apogaia import __version__

project = "apogaia"
author = "the apogaia authors"
copyright = "the apogaia authors, MIT licence"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax and its fonts lie in the site: no page asks another host for anything
]
exclude_patterns = ["generated/**", "whole/**", "files/**"]  # parts that pages include, and files that are no pages
nitpicky = False

# ---------------------------------------------------------------- Markdown and notebooks

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # notebooks come as `make all` has run them
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from another host

# ---------------------------------------------------------------- docstrings

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written, without folders of the machine that builds
autodoc_typehints = "none"  # docstrings say what an argument is, with its unit
autodoc_mock_imports = [name for name in ("jax", "distributed") if find_spec(name) is None]
napoleon_google_docstring = False
napoleon_use_rtype = False
maximum_signature_line_length = 100

# ---------------------------------------------------------------- the pages' look

html_theme = "pydata_sphinx_theme"
html_title = "apogaia"
html_static_path = [os.path.join(os.path.dirname(__file__), "_static")]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "apogaia"},
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def setup(app: Sphinx) -> None:
    """Let whole HTML files, such as the explorer, go into the site as they are."""
    if (app.srcdir / "whole").is_dir():
        app.config.html_extra_path = [str(app.srcdir / "whole")]
