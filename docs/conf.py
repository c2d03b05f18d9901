"""The documentation site: `make docs` builds it into docs/_build/html, with no network."""

import io
import os
import re
from contextlib import redirect_stdout
from importlib.metadata import version as installed_version

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

project = "headstart"
copyright = "the headstart authors"  # noqa: A001  # Sphinx's own name for it
release = version = installed_version("headstart")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# `None` in a docstring is code, as it is in the pages.
default_role = "code"

templates_path = ["_templates"]

html_theme = "furo"
html_title = "headstart"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "html_image"]
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

_HELP_WIDTH = "100"


class CommandHelp(SphinxDirective):
    """What `headstart COMMAND --help` prints, so that no page repeats the options and none can be out of date."""

    required_arguments = 1
    optional_arguments = 1  # of a command with commands of its own

    def run(self) -> list[nodes.Node]:
        """The text as a literal block."""
        from headstart.cli import main

        os.environ["COLUMNS"] = _HELP_WIDTH
        printed = io.StringIO()
        with redirect_stdout(printed):
            code = main([*self.arguments, "--help"])
        if code != 0:
            raise ExtensionError(f"`headstart {' '.join(self.arguments)} --help` ends with code {code}.")
        text = "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())
        return [nodes.literal_block(text, text, language="text", classes=["command-help"])]


def escape_stars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Let docstrings have shapes such as (n, *shape), whose star is no emphasis."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith(">>>"):
            outside_of_code = re.split(r"(`+[^`]*`+)", line)
            outside_of_code[::2] = [re.sub(r"[*|]", r"\\\g<0>", text) for text in outside_of_code[::2]]
            lines[i] = "".join(outside_of_code)


def skip_what_is_not_ours(
    app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object
) -> bool | None:
    """Leave out what a class has from another library, such as scikit-learn's metadata routing."""
    inner = getattr(thing, "__func__", thing)
    ours = str(getattr(inner, "__module__", "headstart")).startswith("headstart")
    return None if ours else True


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", escape_stars, priority=400)  # before napoleon, which makes emphasis
    app.connect("autodoc-skip-member", skip_what_is_not_ours)
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": False}
