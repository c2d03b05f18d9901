"""The documentation site: `make docs` builds it into docs/_build/html, with no network."""

import io
import os
import re
from contextlib import redirect_stdout
from importlib.metadata import version as installed_version

from cyclopts import App
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxDirective

project = "headstart"
copyright = "the headstart authors"  # Sphinx's own name for it
release = version = installed_version("headstart")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# `None` in a docstring is code, as it is in the pages.
default_role = "code"

html_theme = "furo"
html_title = "headstart"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["headstart.css"]

myst_heading_anchors = 3
nb_execution_mode = "off"  # the notebook is stored as it ran; the tests run it

# The API is what `headstart.__all__` names, wherever it lives.
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_HELP_WIDTH = "92"  # columns; more would not fit beside the tables of contents


class CommandLine(SphinxDirective):
    """What `headstart COMMAND --help` prints, for every command: no page repeats it, and none can be out of date."""

    def run(self) -> list[nodes.Node]:
        """A section a command, those of its own commands within it."""
        from headstart.cli import _build_app

        os.environ["COLUMNS"] = _HELP_WIDTH
        app = _build_app()
        return [_section(app, app[name], name) for name in _names(app)]


def _section(root: App, app: App, *command: str) -> nodes.section:
    """A command's title and help; `root` is asked for it, so that the usage has the whole command."""
    title = f"headstart {' '.join(command)}"
    section = nodes.section(ids=[nodes.make_id(title)], names=[title])
    section += nodes.title(title, title)
    printed = io.StringIO()
    with redirect_stdout(printed):
        root.help_print(command)
    text = "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())
    section += nodes.literal_block(text, text, language="text")
    section += [_section(root, app[name], *command, name) for name in _names(app)]
    return section


def _names(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def escape_stars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Let docstrings have shapes such as (n, *shape), whose star is no emphasis."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            pieces = re.split(r"(`+[^`]*`+)", line)  # every second one is code
            pieces[::2] = [re.sub(r"[*|]", r"\\\g<0>", piece) for piece in pieces[::2]]
            lines[i] = "".join(pieces)


def skip_what_is_not_ours(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Leave out what a class has from another library, such as scikit-learn's metadata routing."""
    module = getattr(getattr(thing, "__func__", thing), "__module__", None) or "headstart"
    return None if str(module).startswith("headstart") else True


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-line", CommandLine)
    for fields in PyObject.doc_field_types:
        if fields.name == "variable":
            fields.label = "Attributes"  # as docstrings call them; Sphinx says "Variables"
    app.connect("autodoc-process-docstring", escape_stars, priority=400)  # before napoleon makes emphasis
    app.connect("autodoc-skip-member", skip_what_is_not_ours)
    return {"parallel_read_safe": False}
