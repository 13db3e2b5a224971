import pytest

from desired_state.manifests.panel_url import WrongUrl, parse_host, parse_panel_url


@pytest.mark.parametrize(
    ("text", "one_form"),
    [
        pytest.param("https://nl1.example.net", "https://nl1.example.net/", id="no-path"),
        pytest.param("https://h.example/base", "https://h.example/base/", id="adds-slash"),
        pytest.param("https://h.example/base/", "https://h.example/base/", id="keeps-slash"),
        pytest.param("https://h.example:443/", "https://h.example/", id="default-port-of-https"),
        pytest.param("http://h.example:80/", "http://h.example/", id="default-port-of-http"),
        pytest.param("http://h.example:443/", "http://h.example:443/", id="other-port"),
        pytest.param("HTTPS://NL1.Example.NET./A", "https://nl1.example.net/A/", id="case-of-host"),
        pytest.param("https://[2001:DB8:0::1]:2053/x", "https://[2001:db8::1]:2053/x/", id="ipv6"),
        pytest.param("http://127.0.0.1:20529/", "http://127.0.0.1:20529/", id="ipv4"),
        pytest.param("https://h.example/a/b-c_d.e~f/", "https://h.example/a/b-c_d.e~f/", id="deep"),
        pytest.param("https://h.example/%41b", "https://h.example/%41b/", id="escaped"),
        pytest.param("https://h.example:65535/", "https://h.example:65535/", id="last-port"),
    ],
)
def test_a_url_has_one_form(text, one_form) -> None:
    assert one_form == str(parse_panel_url(text))


def test_the_one_form_is_read_as_itself() -> None:
    url = parse_panel_url("https://[2001:db8::1]:2053/x/")

    assert url == parse_panel_url(str(url))


PORT = "has a port that is no number from 1 to 65535"
SCHEME = "must begin with https:// or http://"
PATH = "has a base path with an empty part or a character that needs escaping"
NAME = "has no host name that could be looked up"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("nl1.example.net:2053/x", SCHEME, id="no-scheme"),
        pytest.param("ftp://h.example/", SCHEME, id="ftp"),
        pytest.param("//h.example/", SCHEME, id="no-scheme-but-slashes"),
        pytest.param("", SCHEME, id="empty"),
        pytest.param("https:///x", NAME, id="no-host"),
        pytest.param("https://h.example:0/", PORT, id="port-0"),
        pytest.param("https://h.example:65536/", PORT, id="port-too-high"),
        pytest.param("https://h.example:x/", PORT, id="port-of-letters"),
        pytest.param("https://h.example:/", PORT, id="colon-without-port"),
        pytest.param(
            "https://admin:hunter2@h.example/",
            "holds a user name or password: these belong into auth, as references",
            id="user-information",
        ),
        pytest.param(
            "https://h.example/?a=b", "must end with the base path: no ? and no #", id="query"
        ),
        pytest.param(
            "https://h.example/#", "must end with the base path: no ? and no #", id="fragment"
        ),
        pytest.param("https://h.example//x/", PATH, id="empty-part"),
        pytest.param("https://h.example/%zz/", PATH, id="bad-escape"),
        pytest.param(
            "https://h.example/a/../b", "has a base path with a part of dots only", id="dots"
        ),
        pytest.param("https://999.1.1.1/", "has a host that is no IPv4 address", id="ipv4"),
        pytest.param("https://[::zz]/", "has a host that cannot be read", id="ipv6"),
        pytest.param("https://[2001:db8::1/", "has a host that cannot be read", id="open-bracket"),
        pytest.param("https://-h.example/", NAME, id="hyphen-first"),
        pytest.param(
            "https://пример.example/",
            "holds a space, a backslash or a character outside ASCII",
            id="not-ascii",
        ),
        pytest.param(
            "https://h.example/a\nb",
            "holds a space, a backslash or a character outside ASCII",
            id="line-break",
        ),
    ],
)
def test_a_wrong_url_is_refused_without_being_repeated(text, message) -> None:
    with pytest.raises(WrongUrl) as caught:
        parse_panel_url(text)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("https://h.example/x", "https://H.EXAMPLE:443/x/", id="port-case-slash"),
        pytest.param("http://h.example:443/", "https://h.example/", id="scheme"),
        pytest.param("https://[::1]/", "https://[0:0:0:0:0:0:0:1]/", id="ipv6"),
        pytest.param("https://h.example./", "https://h.example/", id="dot-at-the-end"),
    ],
)
def test_urls_of_one_panel_are_told_to_be_one(one, other) -> None:
    assert parse_panel_url(one).panel == parse_panel_url(other).panel


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("https://h.example/x", "https://h.example/X", id="case-of-path"),
        pytest.param("https://h.example/", "https://h.example:2053/", id="port"),
        pytest.param("https://a.example/", "https://b.example/", id="host"),
    ],
)
def test_urls_of_two_panels_are_told_apart(one, other) -> None:
    assert parse_panel_url(one).panel != parse_panel_url(other).panel


@pytest.mark.parametrize(
    "text", ["a b", "h.example:443", "https://h.example", "h.example/x", "", "."]
)
def test_a_host_stands_alone(text) -> None:
    with pytest.raises(WrongUrl):
        parse_host(text)
