"""Configuration of the documentation site, which `make docs` builds with Sphinx.

The source folder is the repository's root: links that work on a code host work on the site.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from docs.site.generated import always_read, append_generated

project, author = "Dom-ST", "The Dom-ST authors"
release = metadata.version("dom-st")

root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/*.ipynb"]
exclude_patterns = ["benchmarks", "build", "model", "pipeline", "tests", ".*"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Markdown as code hosts read it: anchors of headings, equations between dollars.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"  # the outputs that are kept; tests/test_notebooks.py runs the notebook

# Docstrings: Google's sections, code in single backticks.
toc_object_entries = False
default_role = "code"
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
maximum_signature_line_length = 80

# Nothing is loaded from elsewhere: tests/test_site.py looks.
html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]  # index.html leads to docs/index.html
smartquotes = False  # two hyphens begin an option
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_math_renderer = "mathml"


def write_math(page: HTML5Translator, node: nodes.math) -> None:
    """Write an equation within a line as MathML."""
    page.body.append(mathml(node))
    raise nodes.SkipNode


def write_math_block(page: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on lines of its own as MathML."""
    page.body.append(f'<div class="math">{mathml(node, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.Element, **how: bool) -> str:
    """MathML of an equation; what the converter does not know is a warning."""
    try:
        return str(tex2mathml(node.astext(), **how))
    except MathError as error:
        getLogger("math").warning("%s: %s", node.astext(), error, location=node)
        return ""


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (write_math, None), (write_math_block, None))
    app.connect("env-get-outdated", always_read)
    app.connect("source-read", append_generated)
