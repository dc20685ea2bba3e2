"""The site: ``sphinx-build -W -c docs . build/site``, from the top of the tree.

Its pages are the Markdown files of the repository, in the places where a code host shows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from math_core import LatexToMathML
from pygments.lexers.data import JsonLexer
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

OVERVIEW = Path(__file__).with_name("README.md")

project = "nearsight"
author = copyright = "The nearsight developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "benchmarks/README.md", "tests/validation/README.md"]
exclude_patterns = ["[.]*", "build", "cpp", "dist", "examples", "python"]

html_theme = "furo"
html_title = "nearsight"
html_additional_pages = {"index": "index.html"}
html_show_copyright = False
html_math_renderer = "mathml"
templates_path = ["templates"]

myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
suppress_warnings = ["misc.highlighting_failure"]  # … stands for what is left out of JSON

autodoc_default_options = {"members": True}
autodoc_typehints = "none"  # docstrings say types, with shapes and units
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_ivar = True


def add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Give the site the contents of docs/README.md: its headings, and the pages of its lists."""
    if page != root_doc:
        return
    _, *sections = OVERVIEW.read_text(encoding="utf-8").split("\n## ")
    source[0] += toctree(["docs/README"])
    for section in sections:
        heading, _, text = section.partition("\n")
        links = re.findall(r"\]\(([\w./-]+)\.md\)", text)
        pages = [(OVERVIEW.parent / link).resolve().relative_to(app.srcdir) for link in links]
        source[0] += toctree(map(str, pages), f":caption: {heading}")


def toctree(pages: Iterable[str], *options: str) -> str:
    """Entries of the sidebar that do not appear on the page itself."""
    return "\n".join(["", "```{toctree}", ":hidden:", *options, *pages, "```", ""])


def write_formula(writer: HTML5Translator, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers show without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    mathml = LatexToMathML().convert_with_local_state(node.astext(), displaystyle=block)
    writer.body.append(mathml)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect what is written above."""
    app.add_lexer("jsonc", JsonLexer)
    app.add_html_math_renderer("mathml", (write_formula, None), (write_formula, None))
    app.connect("source-read", add_contents)
