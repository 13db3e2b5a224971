import pytest

from desired_state.manifests.errors import Fault, FaultKind
from desired_state.manifests.positions import MAX_BYTES, Spot, parse_yaml


def data(text: str) -> list[object]:
    documents, faults = parse_yaml("f.yaml", text.encode())
    assert () == faults
    return [document.data for document in documents]


def syntax_faults(content: bytes | str) -> list[tuple[int, int, str]]:
    raw = content.encode() if isinstance(content, str) else content
    return [(f.line, f.column, f.message) for f in parse_yaml("f.yaml", raw)[1]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("no", "no", id="norway-is-text"),
        pytest.param("on", "on", id="on-is-text"),
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="false"),
        pytest.param("010", "010", id="octal-is-text"),
        pytest.param("1_000", "1_000", id="underscores-are-text"),
        pytest.param("12:30:45", "12:30:45", id="sexagesimal-is-text"),
        pytest.param("2026-11-23", "2026-11-23", id="date-is-text"),
        pytest.param("0x1F", "0x1F", id="hex-is-text"),
        pytest.param("-42", -42, id="integer"),
        pytest.param("0", 0, id="zero"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param(".5", 0.5, id="no-leading-zero"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged-text"),
        pytest.param("! 1", "1", id="non-specific-tag"),
        pytest.param("1" * 5000, "1" * 5000, id="too-long-for-a-number"),
        pytest.param("|\n  a\n  b", "a\nb", id="block"),
    ],
)
def test_plain_values_are_read_as_yaml_1_2_reads_them(text, value) -> None:
    assert [{"a": value}] == data(f"a: {text}")


def test_every_value_and_every_name_knows_its_place() -> None:
    (document,), _ = parse_yaml("f.yaml", b"# fleet\na:\n  - b: 1\n    c:  [x, y]\n")

    assert Spot(4, 13) == document.spot_of(("a", 0, "c", 1))
    assert Spot(4, 5) == document.spot_of(("a", 0, "c"), of_name=True)
    assert Spot(4, 9) == document.spot_of(("a", 0, "c"))
    assert Spot(3, 5) == document.spot_of(("a", 0, "missing"))
    assert Spot(3, 5) == document.spot_of(("a", 0, "missing"), of_name=True)
    assert Spot(2, 1) == document.spot_of(())


def test_columns_count_characters_not_bytes() -> None:
    (document,), _ = parse_yaml("f.yaml", "{ключ: значение, b: x}".encode())

    assert Spot(1, 21) == document.spot_of(("b",))


def test_documents_that_are_empty_are_passed_over() -> None:
    assert [{"a": 1}, {"b": 2}] == data("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n")


def test_anchors_are_expanded_and_do_not_reach_the_next_document() -> None:
    assert [{"a": {"x": 1}, "b": {"x": 1}}] == data("a: &t {x: 1}\nb: *t\n")
    assert [(3, 4, "is an alias of an anchor that does not stand before it")] == syntax_faults(
        "a: &t 1\n---\nb: *t\n"
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"a: \xff", (1, 4, "is not UTF-8"), id="not-utf-8"),
        pytest.param("a: 1\nb: \x01", (2, 4, "holds the control character U+0001"), id="control"),
        pytest.param("[" * 100_000, (1, 33, "is nested deeper than 32 levels"), id="deep-flow"),
        pytest.param("- " * 100_000, (1, 65, "is nested deeper than 32 levels"), id="deep-block"),
        pytest.param(
            "a: &a [*a]",
            (1, 8, "is an alias of an anchor that does not stand before it"),
            id="alias-inside-its-own-anchor",
        ),
        pytest.param(
            "a: &a x\nb: [" + "*a, " * 101 + "]",
            (2, 405, "is one alias more than 100"),
            id="many-aliases",
        ),
        pytest.param(
            "a: !!python/name:os.system x",
            (1, 4, "has a tag that manifests do not know"),
            id="python-tag",
        ),
        pytest.param("a: !t {}", (1, 4, "has a tag that manifests do not know"), id="own-tag"),
        pytest.param("1: a", (1, 1, "is no name that manifests know"), id="number-as-name"),
        pytest.param("? [a]\n: b", (1, 3, "is no name that manifests know"), id="list-as-name"),
        pytest.param("<<: {a: 1}", (1, 1, "is no name that manifests know"), id="merge-key"),
        pytest.param(
            "a: b: c",
            (1, 5, "is no YAML: mapping values are not allowed in this context"),
            id="two-colons",
        ),
        pytest.param(
            "a:\n\tb: c",
            (2, 1, "is no YAML: found character that cannot start any token"),
            id="tab",
        ),
        pytest.param(
            b"#" * (MAX_BYTES + 1), (1, 1, f"is larger than {MAX_BYTES} bytes"), id="huge-file"
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(content, fault) -> None:
    assert [fault] == syntax_faults(content)


def test_a_bomb_of_aliases_ends_at_the_limit_of_values() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")

    assert [(6, 11, "is one value more than 200000")] == syntax_faults("\n".join(lines))


def test_aliases_count_towards_the_depth() -> None:
    deep = "[" * 20 + "]" * 20

    assert [(2, 23, "is nested deeper than 32 levels")] == syntax_faults(
        f"a: &a {deep}\nb: {'[' * 19}*a{']' * 19}"
    )


def test_a_doubled_name_is_a_fault_without_the_name_and_reading_goes_on() -> None:
    documents, faults = parse_yaml("f.yaml", b"a: 1\nb: 2\na: 3\n---\nc: 4\n")

    assert [{"a": 1, "b": 2}, {"c": 4}] == [document.data for document in documents]
    message = "this name stands in the same mapping already, on line 1"
    assert (Fault("f.yaml", 3, 1, "", message, "keep one of the two", FaultKind.SCHEMA),) == faults


def test_documents_before_a_fault_of_syntax_are_kept() -> None:
    documents, faults = parse_yaml("f.yaml", b"a: 1\n---\nb: [\n")

    assert [{"a": 1}] == [document.data for document in documents]
    assert 1 == len(faults)
