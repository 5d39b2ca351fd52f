"""Plots whose axes a single value could spoil."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from slimgpt.report.plots import layers, svg


def test_a_layer_that_lost_nothing_does_not_flatten_the_errors_of_the_others() -> None:
    errors = [5.5e-29, 0.012, 0.03, 0.051]
    rows = [
        SimpleNamespace(layer=index, attention_error=error, ffn_error=0.02 + error)
        for index, error in enumerate(errors)
    ]
    with svg.drawing():
        figure = layers.errors(cast(Any, SimpleNamespace(layers=rows)))
        figure.canvas.draw()
        (axes,) = figure.axes
        low, high = axes.get_ylim()
        ticks = [one.get_text() for one in axes.get_yticklabels() if one.get_text()]
    assert 0.001 < low < 0.012
    assert 0.071 < high < 0.5
    assert len(ticks) >= 3
