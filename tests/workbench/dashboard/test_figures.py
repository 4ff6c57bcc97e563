"""Figures: one trace a label, a number a cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.dashboard.figures import (
    histogram,
    matrix,
    matrix_width,
    plane,
)
from workbench.report.palette import MOST_COLOURED, label_colours

MANY = {f"label {n}": 1 + n for n in range(300)}


def test_names_in_figures_are_no_markup() -> None:
    odd = ["<b>x</b>", "1", " lua", "lua"]
    figure = matrix(odd, odd, np.eye(4), diverging=True, title="nats", digits=3)
    assert list(figure.data[0].x) == list(figure.data[0].y) == ["&lt;b&gt;x&lt;/b&gt;", "1", "·lua", "lua"]
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "category"
    points = pd.DataFrame({"expert": range(4), "x": 0.0, "y": 0.0, "specialised": odd, "confirmed": True, "tokens": 1})
    drawn = plane(points, label_colours(dict.fromkeys(odd, 1))).to_json()
    assert "<b>" not in drawn.replace("\\u003c", "<")


def test_map_of_contexts_of_many_labels_has_one_entry_for_the_others() -> None:
    points = pd.DataFrame({"expert": range(300), "x": 0.0, "y": 0.0, "specialised": list(MANY), "tokens": 1}).assign(
        confirmed=True
    )
    figure = plane(points, label_colours(MANY))
    assert len(figure.data) == 1 + MOST_COLOURED + 1
    assert figure.data[-1].name == "other labels (288 of 288 confirmed)"
    assert figure.data[-1].customdata[0][2] == "label 0"


def test_histogram_leaves_out_empty_bins_of_the_log_axis() -> None:
    drawn = histogram(pd.DataFrame({"low": [0.0, 0.5], "high": [0.5, 1.0], "count": [12, 0]}))
    figure = go.Figure(drawn)  # which checks its properties
    assert figure.layout.yaxis.type == "log"
    assert list(figure.data[0].text) == ["12", ""]
    assert figure.data[0].y[1] is None


def test_diverging_matrix_is_centred_on_zero() -> None:
    figure = matrix(["a", "b"], ["a", "b"], np.array([[2.0, -0.5], [0.1, 1.0]]), diverging=True, title="nats", digits=3)
    trace = figure.data[0]
    assert (trace.zmin, trace.zmax) == (-2.0, 2.0)
    assert "%{z" in trace.texttemplate
    assert (trace.y[0], trace.z[0][1]) == ("a", -0.5)  # row: removed


def test_matrix_takes_the_width_of_its_place_and_has_a_least_one() -> None:
    few, many = ["a", "b"], [f"label {n}" for n in range(30)]
    assert matrix(few, few, np.eye(2), diverging=True, title="nats", digits=3).layout.width is None
    assert matrix_width(few, few) == 2 * 76 + 110 + 140
    assert matrix_width(many, many) - matrix_width(many, many[:29]) == 76
