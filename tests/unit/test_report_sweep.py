"""The figure of a sweep: what stands in a panel, and in which order."""

from itertools import product

from snaketune.report.figures.results import draw_sweep, values_of
from snaketune.report.style import house_style, to_svg


def row(**swept):
    head = {"run": "r", "model": "tiny", "train_data": "d", "eval": "math", "metric": "accuracy"}
    return head | {"value": "0.5", "n": "10", "low": "0.4", "high": "0.6"} | swept


def grid():
    return [
        row(**{"learning_rate": rate, "lora.r": rank})
        for rate, rank in product(("0.002", "1e-05", "0.0001"), ("16", "8"))
    ]


def test_values_stand_by_size_and_texts_as_they_come():
    assert values_of(grid(), "learning_rate") == ["1e-05", "0.0001", "0.002"]
    assert values_of([row(preset="lora"), row(preset="full")], "preset") == ["lora", "full"]


def test_a_panel_a_key_with_a_line_for_each_setting_of_the_others():
    with house_style():
        figure = draw_sweep(grid())
        assert to_svg(figure)
    by_rate, by_rank = figure.axes
    assert (by_rate.get_xlabel(), by_rank.get_xlabel()) == ("learning_rate", "lora.r")
    assert [len(line.get_xdata()) for line in by_rate.lines] == [3, 3]
    assert [len(line.get_xdata()) for line in by_rank.lines] == [2, 2, 2]
    assert {line.get_label() for line in by_rate.lines} == {"lora.r 16", "lora.r 8"}


def test_runs_of_other_models_are_lines_of_their_own():
    rows = [row(seed=seed) | {"model": model} for seed in "12" for model in ("a", "b")]
    with house_style():
        figure = draw_sweep(rows)
    assert {line.get_label() for line in figure.axes[0].lines} == {"a", "b"}


def test_a_missing_value_is_no_point():
    rows = [row(seed="1"), row(seed="2") | {"value": "", "low": "", "high": ""}]
    with house_style():
        figure = draw_sweep(rows)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [1]


def test_a_sweep_over_models_alone_has_a_panel_of_models():
    rows = [row() | {"run": f"r_{model}", "model": model} for model in ("small", "large")]
    with house_style():
        figure = draw_sweep(rows)
        assert to_svg(figure)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "model"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["small", "large"]
    assert [len(line.get_xdata()) for line in axes.lines] == [2]
