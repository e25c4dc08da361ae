"""Numbers and untrusted text as they are shown; sentences; figures with odd input."""

import pytest

from snaketune.report.figures.results import draw_hazards, draw_states
from snaketune.report.figures.training import draw_loss
from snaketune.report.style import (
    excerpt,
    hazard_name,
    house_style,
    inline_svg,
    interval,
    number,
    p_value,
    percent,
    points,
    printable,
    size,
    subset_name,
    to_svg,
    visible,
)


def test_missing_is_never_zero():
    assert percent(None) == points(None) == "missing"
    assert percent(0.0) == "0.0 %"
    assert interval(None, None) == ""


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "p < 0.001"), (0.0123, "p = 0.012"), (1.0, "p = 1.00"), (None, "")]
)
def test_p_value(p, text):
    assert p_value(p) == text


def test_sizes_and_numbers():
    assert size(3_200_000_000) == "3.2 GB"
    assert number(12345) == "12,345"
    assert number(1e-4) == "0.0001"
    assert number(2.0) == "2"
    assert number(True) == "yes"
    assert number("a\u202eb") == "a⟨U+202E⟩b"


def test_points_have_a_sign():
    assert (points(0.1), points(-0.1), points(0.0)) == ("+10.0", "−10.0", "0.0")
    assert (points(-0.0004), points(0.0004)) == ("−0.04", "+0.04"), "no difference is shown as none"
    assert points(-0.0000049) == points(0.0000049) == "0.0"


def test_visible_keeps_lines_and_letters_of_every_script():
    assert visible("a\r\n\tמה שלומך 你好 é") == "a\n\tמה שלומך 你好 é"
    assert visible("\ud800\u200b") == "⟨U+D800⟩⟨U+200B⟩"


def test_excerpt_says_what_is_left_out():
    assert excerpt("abcdef", 4) == ("abcd", 2)
    assert excerpt("abc", 4) == ("abc", 0)


def test_hazards_in_words():
    assert hazard_name("prv") == "privacy (prv)"
    assert hazard_name("odd\x00") == "odd⟨U+0000⟩"
    assert subset_name("hazard=spc_fin") == "hazard spc_fin"
    assert subset_name("hazard_group=hte") == "hate (hte)"


def _svg(draw, *arguments):
    with house_style():
        return to_svg(draw(*arguments))


def test_labels_from_data_are_escaped_and_hold_no_formula():
    svg = _svg(draw_hazards, {"a<b>": {"$x^2$ </svg><script>": 0.5, "none": None}}, {"a<b>": "red"})
    assert "<script>" not in svg
    assert "$x^2$ &lt;/svg&gt;&lt;script&gt;" in svg
    assert "a&lt;b&gt;" in svg


def test_a_missing_value_is_drawn_as_missing():
    point = {"label": "base", "value": None, "low": None, "high": None}
    svg = _svg(draw_states, [{**point, "colour": "red", "threshold": None}], "accuracy")
    assert ">missing<" in svg
    assert "0.0 %" not in svg


def test_empty_inputs_still_make_figures():
    assert "<svg" in _svg(draw_loss, {}, {}, {})
    assert "<svg" in _svg(draw_hazards, {}, {})


def test_dev_accuracy_has_a_panel_where_there_is_one_and_the_step_that_was_taken_a_ring():
    plain = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"step": 2, "dev_loss": 1.5}]
    scored = [{"step": k, "dev_loss": 1.5, "dev_accuracy": k / 4} for k in (1, 2)]
    colours = {"a": "red", "b": "blue"}
    with house_style():
        without = draw_loss({"a": plain, "b": plain}, colours, {})
        found = draw_loss({"a": plain, "b": [*plain[:2], *scored]}, colours, {"b": 2})
    assert len(without.axes) == 1
    loss, accuracy = found.axes
    line, ring = accuracy.lines
    assert line.get_ydata().tolist() == [0.25, 0.5]
    assert (ring.get_xdata().item(), ring.get_ydata().item()) == (2, 0.5)
    assert [line.get_xdata().tolist() for line in loss.lines if line.get_markersize() == 13] == [
        [2]
    ]


def test_labels_are_cut():
    assert printable("x" * 100, 10) == "x" * 9 + "…"
    assert printable("a\x00\u202eb") == "ab"


def test_inline_svg_has_ids_of_its_own_and_the_pages_colours():
    svg = (
        '<?xml?><svg width="10pt" height="5pt" viewBox="0 0 10 5"><g id="a"/><use xlink:href="#a"/>'
    )
    svg += '<path style="fill: #1b2023; clip-path: url(#c)"/></svg>'
    text = inline_svg(svg, "loss", 'a "quoted" <alt>')
    assert text.startswith('<svg role="img" aria-label="a &quot;quoted&quot; &lt;alt&gt;" ')
    assert 'id="loss-a"' in text
    assert 'xlink:href="#loss-a"' in text
    assert "url(#loss-c)" in text
    assert "fill: var(--ink)" in text
    assert "10pt" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9996, "99.96 %"), (1.0, "100.0 %"), (0.9994, "99.9 %"), (0.0004, "0.04 %"), (0.0, "0.0 %")],
)
def test_what_is_not_all_or_nothing_is_not_shown_as_such(value, text):
    assert percent(value) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0496, "p = 0.0496"), (0.0504, "p = 0.0504"), (0.04999, "p = 0.04999"), (0.05, "p = 0.050")],
)
def test_the_line_at_0_05_shows(p, text):
    assert p_value(p) == text
