"""Text from elsewhere is shown, and never obeyed."""

import json

import pytest

from desired_state.model.legible import legible, legible_json

RIGHT_TO_LEFT = "\u202e"
TAG = "\U000e0041"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nl-1",
        "Нидерланды 🇳🇱",
        "\u0645\u06cc\u200c\u062e\u0648",
        "👩\u200d💻",
        "日本 · node",
        "a\\x1b",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert text == legible(text)
    assert text == legible_json(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mEVIL", "\\x1b[31mEVIL"),
        ("\x9b31mEVIL", "\\x9b31mEVIL"),
        ("a\r\nin sync", "a\\x0d\\x0ain sync"),
        ("a\x08\x7fb", "a\\x08\\x7fb"),
        (f"a{RIGHT_TO_LEFT}b", "a\\u202eb"),
        ("a\u2028b\u2066c\ufeff", "a\\u2028b\\u2066c\\ufeff"),
        (f"a{TAG}", "a\\U000e0041"),
        ("a\udcff", "a\\udcff"),
    ],
    ids=["escape", "c1", "line end", "backspace", "direction", "separators", "tag", "half a pair"],
)
def test_what_steers_or_hides_is_written_out(text: str, shown: str) -> None:
    assert shown == legible(text)


def test_line_ends_of_a_text_of_several_lines_may_stay() -> None:
    assert "a\nb\\x1b" == legible("a\nb\x1b", keep="\n")


@pytest.mark.parametrize("text", ["\x9b31m", RIGHT_TO_LEFT, TAG, "\x7f", "\udcff", "plain", "é"])
def test_json_keeps_the_value_and_carries_nothing_raw(text: str) -> None:
    line = legible_json(json.dumps({"guid": text}, ensure_ascii=False))

    assert {"guid": text} == json.loads(line)
    assert line.isprintable()
