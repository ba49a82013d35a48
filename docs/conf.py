"""Sphinx configuration: "make docs" builds the site into docs/_build/html."""

from importlib.util import find_spec
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

import sklearn_rnnbound

project = "sklearn_rnnbound"
author = copyright = "The sklearn_rnnbound developers"
version = release = sklearn_rnnbound.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
highlight_language = "none"

# Every name that is linked must exist; what belongs to other packages is named, not linked, so that
# the build needs no network.
nitpicky = True
nitpick_ignore_regex = [(r"py:\w+", r"(joblib|matplotlib|numpy|pandas|skorch|sklearn|torch)\..+")]

# Pages are written to be read on GitHub, too.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

# Types stand in the docstrings; scikit-learn documents what is inherited from it.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "literal"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "backreferences_dir": "gallery/backreferences",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": ExplicitOrder(["plot_quickstart.py", "plot_headline.py", "*"]),
    "doc_module": ("sklearn_rnnbound",),
    "capture_repr": (),
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_rnnbound"
html_show_sourcelink = False
html_use_index = False
toc_object_entries_show_parents = "hide"
html_sidebars = {
    page: [] for page in ("index", "getting_started", "paper", "faq", "contributing", "cite")
}
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
}
# SVG output in one file: formulas need neither a network nor fonts.
mathjax = Path(*find_spec("sphinx-mathjax-offline").submodule_search_locations)
html_static_path = ["_static", str(mathjax / "static" / "mathjax" / "tex-svg.js")]
html_css_files = ["site.css"]
mathjax_path = "tex-svg.js"


def skip_inherited(app, what, name, obj, skip, options):
    """Leave out what a class inherits from scikit-learn."""
    module = getattr(getattr(obj, "fget", obj), "__module__", None)
    return True if str(module).startswith("sklearn.") else None


def one_gallery(app, config):
    """Only .rst files head a gallery: README.md of examples/paper is for those who read there."""
    config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def setup(app):
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("config-inited", one_gallery)
