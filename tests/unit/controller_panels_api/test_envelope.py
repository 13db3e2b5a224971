"""The envelope is decoded once, and says where it is wrong without showing what it holds."""

import pytest
from pydantic import BaseModel

from controller.panels.api.envelope import Answer, Envelope, parse_envelope, shorten
from controller.panels.api.errors import PanelBusy, PanelContractBroken
from desired_state.model.ids import NodeName


class Row(BaseModel):
    id: int
    password: str = ""


def answer(body: bytes) -> Answer:
    return Answer(NodeName("nl-1"), "GET", "panel/api/inbounds/list", 200, body)


def test_list_is_decoded_into_models() -> None:
    body = b'{"success":true,"msg":"","obj":[{"id":1},{"id":2,"unknown":3}]}'

    parsed = parse_envelope(answer(body), list[Row])

    assert Envelope[list[Row]](success=True, obj=[Row(id=1), Row(id=2)]) == parsed


def test_missing_and_null_objects_are_none() -> None:
    assert parse_envelope(answer(b'{"success":true}'), list[Row]).obj is None
    assert parse_envelope(answer(b'{"success":true,"obj":null}'), list[Row]).obj is None


def test_refused_read_is_busy_with_the_panels_sentence() -> None:
    body = b'{"success":false,"msg":"Obtain (database is locked)","obj":null}'

    with pytest.raises(PanelBusy) as caught:
        parse_envelope(answer(body), list[Row])

    assert "the panel failed to read: Obtain (database is locked)" == str(caught.value)


@pytest.mark.parametrize("body", [b"", b'{"success":tr', b"ok", b'{"success":true,"obj":[{"id":'])
def test_broken_json_is_busy_not_a_broken_contract(body: bytes) -> None:
    with pytest.raises(PanelBusy, match="no whole JSON"):
        parse_envelope(answer(body), list[Row])


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"success":true,"obj":[{"id":1},{"id":{"password":"s3cr3t"}}]}', "obj.1.id: int_type"),
        (b'{"success":true,"obj":{"password":"s3cr3t"}}', "obj: list_type"),
        (b'["s3cr3t"]', "its top: model_type"),
        (b'{"msg":"s3cr3t"}', "success: missing"),
    ],
)
def test_another_shape_names_its_place_and_not_its_value(body: bytes, place: str) -> None:
    with pytest.raises(PanelContractBroken) as caught:
        parse_envelope(answer(body), list[Row])

    assert f"the answer has another shape than expected at {place}" == str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_bodies_do_not_show_in_representations() -> None:
    assert "s3cr3t" not in repr(answer(b"s3cr3t"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("  record\nnot found\r\n", "record not found"),
        ("\x1b[31mEVIL\x9b1m", "\\x1b[31mEVIL\\x9b1m"),
        ("in\u2028sync \u202e", "in sync \\u202e"),
        ("x" * 201, "x" * 200 + "..."),
    ],
    ids=["line ends", "escapes", "separators", "long"],
)
def test_a_panels_own_sentence_is_one_legible_line(said: str, shown: str) -> None:
    assert shown == shorten(said)


def test_a_place_that_the_panel_named_is_legible() -> None:
    body = b'{"success":true,"obj":{"\\u001b[31mEVIL":"x"}}'

    with pytest.raises(PanelContractBroken, match=r"expected at obj\.\\x1b\[31mEVIL: int_"):
        parse_envelope(answer(body), dict[str, int])
