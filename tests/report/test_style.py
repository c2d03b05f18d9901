import io
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from PIL import Image

from headstart.report.style import INK, drawing, exact_axes, label, path_label, to_png, to_svg


def some_svg(text: str = "text", name: str = "some", alt: str = "Some chart") -> str:
    with drawing():
        figure, axes = exact_axes(2, 1)
        axes.plot([0, 1], [0, 1], color=INK)
        axes.set_title(text)
        return str(to_svg(figure, name=name, alt=alt))


def test_svg_is_well_formed_and_described() -> None:
    # A page needs no name space for xlink; an XML parser does.
    svg = some_svg(alt='A "chart" of <a & b>').replace(
        "<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1
    )
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'A "chart" of <a & b>'
    assert root.get("role") == "img"


def test_svg_follows_the_page() -> None:
    svg = some_svg()
    assert "var(--ink)" in svg
    assert INK not in svg
    assert "font-family" not in svg
    assert ">text</text>" in svg


def test_svg_escapes_names() -> None:
    svg = some_svg("<script>alert(1)</script> $x$ &")
    assert "<script" not in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x$ &amp;" in svg


def test_svg_is_the_same_each_time_and_its_ids_are_its_own() -> None:
    def ids(svg: str) -> set[str]:
        return {element.get("id") for element in ElementTree.fromstring(svg.replace("xlink:", "")).iter()} - {
            None
        }

    assert some_svg() == some_svg()
    assert ids(some_svg(name="a"))
    assert not ids(some_svg(name="a")) & ids(some_svg(name="b"))


def test_a_persons_own_style_neither_changes_figures_nor_is_changed() -> None:
    usual = some_svg()
    with mpl.rc_context({"font.size": 30, "axes.grid": True}):
        assert some_svg() == usual
        assert mpl.rcParams["font.size"] == 30


def test_png_is_opaque_white_around() -> None:
    with drawing():
        figure, _ = exact_axes(1, 1)
        image = Image.open(io.BytesIO(to_png(figure))).convert("RGBA")
    np.testing.assert_array_equal(np.asarray(image)[0, 0], [255, 255, 255, 255])


def test_labels() -> None:
    assert label("a" * 50, limit=10) == "aaaaaaaaa…"
    assert path_label("folder/file.jpg", limit=9) == "…file.jpg"
    assert path_label("short.jpg", limit=9) == "short.jpg"
    assert label("two\nlines\udc80") == "two\N{REPLACEMENT CHARACTER}lines\N{REPLACEMENT CHARACTER}"


def test_no_global_plotting_state_and_no_torch() -> None:
    code = "import sys, headstart.report; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
