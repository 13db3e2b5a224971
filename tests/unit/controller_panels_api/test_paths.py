"""Paths reach the panel as they are meant: no doubled, no trailing slash, segments encoded."""

import httpx
import pytest

from controller.panels.api.paths import join, segment


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("https://h/", "login", "https://h/login"),
        ("https://h/x/", "login", "https://h/x/login"),
        ("https://h/x/", "/login", "https://h/x/login"),
        ("https://h/x/", "panel/", "https://h/x/panel"),
        ("https://h/x/", "", "https://h/x/"),
        ("https://h/", "", "https://h/"),
        ("http://[::1]:2053/x/y/", "panel/api", "http://[::1]:2053/x/y/panel/api"),
        ("https://h/x/", "a/b?keepTraffic=1", "https://h/x/a/b?keepTraffic=1"),
        ("https://h/x/", "a/b/?i=1&u=/q/", "https://h/x/a/b?i=1&u=/q/"),
    ],
)
def test_join(base: str, path: str, expected: str) -> None:
    assert expected == join(base, path)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("x3f-abc-g1", "x3f-abc-g1"),
        ("bob+1@example.net", "bob+1@example.net"),
        ("a b", "a%20b"),
        ("50%", "50%25"),
        ("q?x#y", "q%3Fx%23y"),
        ("a/b", "a%2Fb"),
        ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
    ],
)
def test_segment_arrives_decoded_as_it_was(text: str, encoded: str) -> None:
    url = httpx.URL(join("https://h/x/", f"del/{segment(text)}"))

    assert f"/x/del/{encoded}".encode() == url.raw_path
