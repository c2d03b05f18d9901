import io
import subprocess
import sys

import matplotlib as mpl
import numpy as np
from PIL import Image

from headstart.report.style import INK, drawing, exact_axes, label, path_label, to_png


def some_png(text: str = "text") -> bytes:
    with drawing():
        figure, axes = exact_axes(2, 1)
        axes.plot([0, 1], [0, 1], color=INK)
        axes.set_title(text)
        return to_png(figure)


def test_a_persons_own_style_neither_changes_figures_nor_is_changed() -> None:
    usual = some_png()
    with mpl.rc_context({"font.size": 30, "axes.grid": True}):
        assert some_png() == usual
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
