"""Configuration of the documentation site, which `bash .ci/docs` builds."""

import inspect
import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import figures  # noqa: E402

import skrecurrent  # noqa: E402

project = "skrecurrent"
author = copyright = "The skrecurrent developers"
version = release = skrecurrent.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_glance*.md", "cluster_costs.md", "drawn"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# A name in the package that leads nowhere is an error. Other packages' names stay plain text: their
# inventories would have to be fetched over the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(sklearn|matplotlib|numpy|pandas)\..*")]

numpydoc_show_class_members = False
numpydoc_citation_re = r"[\w-]+"
suppress_warnings = ["ref.citation"]  # references that stand for a whole docstring

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skrecurrent",),
    "within_subsection_order": "gallery.ByUse",
    "plot_gallery": True,
    "abort_on_example_error": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "copyfile_regex": r"",
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "thumbnail_size": (640, 448),  # twice the size at which site.css shows them
}

html_theme = "pydata_sphinx_theme"
html_title = f"skrecurrent {release}"
html_favicon = "_static/favicon.svg"
copybutton_prompt_text = r">>> |\.\.\. "  # output is left out
copybutton_prompt_is_regexp = True
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
# A method's entry under "On this page" has no room for the name of its class.
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
WIDE = (
    "index",
    "quickstart",
    "choose",
    "sequences",
    "measurements",
    "benchmarks",
    "changelog",
)
html_sidebars = {page: [] for page in WIDE}


def _mathml(node, display):
    # TeX puts the space by itself; without it one reads tanhx, and atanh for a tanh.
    latex = re.sub(r"(?<=\w) *\\tanh", r"\\,\\tanh", node.astext())
    mathml = convert(re.sub(r"\\tanh (?=\w)", r"\\tanh\\,", latex), display=display)
    if "<mi>&</mi>" in mathml or "\\" in mathml:  # what it does not know it passes through
        raise ValueError(f"latex2mathml does not understand {node.astext()!r}")
    return mathml


def _inline_math(self, node):
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _display_math(self, node):
    self.body.append(f'<div class="formula">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def _skip_inherited(app, what, name, member, skip, options):
    """Keep methods that the package defines; scikit-learn describes those of every estimator."""
    if what != "class":
        return None
    member = inspect.unwrap(getattr(member, "fget", getattr(member, "__func__", member)))
    ours = str(getattr(member, "__module__", None)).startswith("skrecurrent")
    return None if ours else True


def _trim_code(app, doctree):
    """Doctests need an empty line before a fence; readers do not."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext().rstrip()
        block.rawsource, block.children = text, [nodes.Text(text)]


NUMBER = re.compile(r"([\d.]+e-\d+|[\d.]+ (?:s|ms|us|MB)\b)")


def _keep_numbers_whole(app, doctree):
    """In a narrow column a line must not end before an exponent or a unit."""
    cells = list(doctree.findall(nodes.entry))
    for text in [text for cell in cells for text in cell.findall(nodes.Text)]:
        parts = NUMBER.split(text)
        if len(parts) > 1 and not isinstance(text.parent, nodes.literal):
            text.parent.replace(
                text,
                [
                    nodes.inline("", part, classes=["number"]) if k % 2 else nodes.Text(part)
                    for k, part in enumerate(parts)
                ],
            )


def setup(app):
    # MathML needs no script and no network, and follows the colours of the page.
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
    app.connect("autodoc-skip-member", _skip_inherited)
    app.connect("doctree-read", _trim_code)
    app.connect("doctree-read", _keep_numbers_whole)
    app.connect("builder-inited", lambda app: figures.write(HERE / "drawn"))
