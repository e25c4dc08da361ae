"""Keys that stand twice in JSON are found with their lines; what is legal is read as it is."""

import json

import pytest

from snaketune.data.record import Repeat, parse


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}, "b": {"a": 1}}',
        '[{"a": 1}, {"a": 2}]',
        '{"a": "\\"a\\": 1, \\"a\\": 2", "b\\\\": "a"}',
        '{"a": 1, "A": 2, "a ": 3}',
        "[1, NaN, -Infinity, null]",
    ],
)
def test_legal_neighbours_are_read_as_they_are(text: str) -> None:
    value, repeats = parse(text)
    assert json.dumps(value) == json.dumps(json.loads(text))
    assert repeats == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1, "a": 2}', [Repeat(("a",), [1, 1])]),
        ('{\n"a": 1,\n"b": 2, "a"\n: 3,\n"a": 4}', [Repeat(("a",), [2, 3, 5])]),
        ('[{"x": [0, {"k":\n1, "\\u006b": 1}]}]', [Repeat((0, "x", 1, "k"), [1, 2])]),
        (
            '{"a": {"1:b": 1, "1:b": 1},\n"a": [{"": 0, "": 0}]}',
            [Repeat(("a", "1:b"), [1, 1]), Repeat(("a",), [1, 2]), Repeat(("a", 0, ""), [2, 2])],
        ),
        ('{"a\\"": "x\\\\", "a\\"": "{\\"a\\": 1}"}', [Repeat(('a"',), [1, 1])]),
    ],
)
def test_every_key_that_stands_twice_is_found(text: str, expected: list[Repeat]) -> None:
    value, repeats = parse(text)
    assert repeats == expected
    assert value == json.loads(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2', "{'a': 1}", "", "[" * 100_000])
def test_what_is_no_json_fails_as_it_does_in_python(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)) as plain:
        json.loads(text)
    with pytest.raises(plain.type):
        parse(text)


def test_lines_in_words() -> None:
    assert Repeat(("a",), [3, 3]).places == "this key 2 times, on line 3"
    assert Repeat(("a",), [3, 5, 9]).places == "this key 3 times, on lines 3, 5 and 9"
