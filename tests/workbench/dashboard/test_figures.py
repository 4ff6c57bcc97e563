"""Colours and figures: one trace a map, a colour a label, a number a cell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.dashboard.figures import FADED_FILL, UNSEEN_FILL, expert_map, histogram, matrix
from workbench.report.palette import label_colours

LABELS = [f"label {n}" for n in range(14)]


def _fill(figure, code: int) -> str:  # type: ignore[no-untyped-def]
    """The colour the heatmap's scale gives to a code."""
    trace = figure.data[0]
    at = (code - trace.zmin) / (trace.zmax - trace.zmin)
    return [colour for edge, colour in trace.colorscale if edge <= at][-1]


def test_map_is_one_trace_with_each_label_in_its_colour() -> None:
    colours = label_colours(LABELS)
    codes = np.resize(np.arange(-1, 15, dtype=np.int16), (512, 512))
    figure = expert_map(codes, colours)
    assert len(figure.data) == 1
    assert _fill(figure, -1) == UNSEEN_FILL
    assert [_fill(figure, code) for code in range(1, 15)] == list(colours.values())


def test_highlight_fades_every_other_label() -> None:
    colours = label_colours(LABELS)
    figure = expert_map(np.ones((4, 4), np.int16), colours, "label 3")
    fills = [_fill(figure, code) for code in range(15)]
    assert fills[4] == colours["label 3"]
    assert set(fills[:4] + fills[5:]) == {FADED_FILL}


def test_histogram_leaves_out_empty_bins_of_the_log_axis() -> None:
    figure = histogram(pd.DataFrame({"low": [0.0, 0.5], "high": [0.5, 1.0], "count": [12, 0]}))
    assert figure.layout.yaxis.type == "log"
    assert list(figure.data[0].text) == ["12", ""]
    assert np.isnan(figure.data[0].y[1])


def test_diverging_matrix_is_centred_on_zero() -> None:
    figure = matrix(["a", "b"], ["a", "b"], np.array([[2.0, -0.5], [0.1, 1.0]]), diverging=True, title="nats", digits=3)
    trace = figure.data[0]
    assert (trace.zmin, trace.zmax) == (-2.0, 2.0)
    assert "%{z" in trace.texttemplate
    assert (trace.y[0], trace.z[0][1]) == ("a", -0.5)  # row: removed
