"""The map of the test images as a chart."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headstart.report.charts import PALETTE, Chart, axis, chart_layout, escaped
from headstart.report.embedding import ImageMap
from headstart.report.style import RIGHT, WRONG

_BARE: Final[Mapping[str, Any]] = {"showticklabels": False, "showgrid": False, "ticks": "", "showline": False}


def map_chart(
    image_map: ImageMap, labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]
) -> Chart:
    """The images on the map: dots for right answers, crosses for mistakes, in their class's colour where there are few.

    Args:
        image_map: of the n test images.
        labels: (n,) true classes.
        predicted: (n,) what they were taken for.
        classes: names of the K classes.
    """
    few = len(classes) <= len(PALETTE)
    right = labels == predicted
    groups = (
        [(name, PALETTE[k], labels == k) for k, name in enumerate(classes)]
        if few
        else [("right", RIGHT, right), ("wrong", WRONG, ~right)]
    )
    traces = [_points(name, colour, np.flatnonzero(mask), image_map, right) for name, colour, mask in groups]
    what = "colour is the true class" if few else "blue dots are right answers"
    return Chart(
        data=traces,
        layout=chart_layout(
            margin={"l": 8, "r": 8, "t": 8, "b": 8},
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top"},
            xaxis=axis(**_BARE),
            yaxis=axis(**_BARE),
            dragmode="zoom",
            uirevision="map",
        ),
        height=560,
        alt=f"Map of {len(labels)} test images by {image_map.method}: {what}, and crosses are the {(~right).sum()} "
        "mistakes. Arrow keys go from image to image.",
    )


def _points(
    name: str, colour: str, rows: NDArray[np.int64], image_map: ImageMap, right: NDArray[np.bool_]
) -> dict[str, Any]:
    rows = rows[np.argsort(~right[rows], kind="stable")]  # the legend shows the first one's symbol
    x, y = image_map.places[rows].round(3).T
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(name),
        "x": [round(float(value), 3) for value in x],
        "y": [round(float(value), 3) for value in y],
        "customdata": rows.tolist(),
        "hoverinfo": "none",  # the page shows the photo instead
        "marker": {
            "color": colour,
            "size": [7 if right[row] else 10 for row in rows],
            "symbol": ["circle" if right[row] else "x" for row in rows],
            "opacity": 0.85,
        },
    }
