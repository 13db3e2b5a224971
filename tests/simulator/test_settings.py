"""Stored settings: the text as posted, then as Go would write it; clients found and replaced."""

import json

import pytest

from simulator import gojson
from simulator.settings import Settings

POSTED = '{"decryption":"none","clients":[{"id":"1","email":"Bob"},{"email":"eve","x":{"y":[1]}}]}'


def test_the_text_stays_as_posted_until_it_is_rewritten():
    settings = Settings(POSTED)
    before = settings.text

    settings.rewrite()

    assert POSTED == before
    assert json.dumps(json.loads(POSTED), indent=2, sort_keys=True) == settings.text


def test_the_nested_form_is_compact():
    assert json.loads(POSTED) == json.loads(Settings(POSTED).nested)
    assert " " not in Settings(POSTED).nested


@pytest.mark.parametrize(("text", "nested"), [("", "null"), ("{", '"{"'), ("[]", "[]")])
def test_what_is_no_object_is_nested_as_null_text_or_itself(text, nested):
    assert nested == Settings(text).nested


def test_clients_are_found_exactly_and_in_any_case():
    settings = Settings(POSTED)

    assert settings.find("bob") is None
    assert "1" == settings.find("Bob").data["id"]
    assert ["Bob"] == [entry.email for entry in settings.find_any_case("BOB")]


def test_changes_show_in_the_text_and_in_the_index():
    settings = Settings(POSTED)

    settings.change(settings.find("Bob"), email="rob")
    settings.append([{"email": "new"}])
    gone = settings.keep(lambda entry: entry.email != "eve")

    assert 1 == gone
    assert ["rob", "new"] == [c["email"] for c in json.loads(settings.text)["clients"]]
    assert settings.find("Bob") is None
    assert settings.find("rob") is not None


def test_a_copy_is_changed_apart():
    settings = Settings(POSTED)
    twin = settings.copy()

    twin.change(twin.find("Bob"), email="rob")
    twin.keep(lambda entry: entry.email == "rob")

    assert ["Bob", "eve"] == [entry.email for entry in settings.clients]
    assert POSTED == settings.text


def test_a_client_without_the_key_is_noticed():
    settings = Settings('{"clients":[{"email":""}]}')
    before = settings.has_nameless

    settings.append([{"id": "1"}])

    assert (False, True) == (before, settings.has_nameless)


@pytest.mark.parametrize(
    ("text", "stored", "posted"),
    [
        ("", "unexpected end of JSON input", "EOF"),
        ("{", "unexpected end of JSON input", "unexpected EOF"),
        ('{"a', "unexpected end of JSON input", "unexpected EOF"),
        ("{]", "invalid character ']' looking for beginning of object key string", None),
        ("nope", "invalid character 'n' looking for beginning of value", None),
        ("{} x", "invalid character 'x' after top-level value", None),
    ],
)
def test_broken_texts_are_refused_in_gos_words(text, stored, posted):
    for is_stream, expected in ((False, stored), (True, posted or stored)):
        with pytest.raises(gojson.GoJsonError) as caught:
            gojson.parse(text, stream=is_stream)
        assert expected == str(caught.value)


def test_numbers_and_letters_are_written_as_go_writes_them():
    assert {"a": 1, "b": 1.5} == gojson.parse('{"a": 1.0, "b": 1.5}')
    assert '"\\u003ca\\u003e \\u0026 ä"' == gojson.compact("<a> & ä")
    assert '{\n  "a": 1,\n  "b": []\n}' == gojson.indented({"b": [], "a": 1})
