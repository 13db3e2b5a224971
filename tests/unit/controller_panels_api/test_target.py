"""A target that cannot work is refused by its field's name, without its value, before any request."""

import pytest

from controller.panels.api.errors import PanelMisconfigured
from controller.panels.api.session import PanelApi
from desired_state.model.ids import NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls, TlsKind
from tests.unit.controller_panels_api.scripted import FORM, TOKEN, URL

HTTPS = "https://127.0.0.1:2053/"
PIN = "ab" * 32
UNCHANGED = Tls()


def target(url: str = URL, credentials: Credentials = FORM, tls: Tls = UNCHANGED) -> NodeTarget:
    return NodeTarget(NodeName("nl-1"), url, credentials, tls, Mode.ENFORCE)


WRONG = [
    ("panel.url", target("")),
    ("panel.url", target("127.0.0.1:2053/")),
    ("panel.url", target("ftp://127.0.0.1/")),
    ("panel.url", target("http:///x/")),
    ("panel.url", target("http://127.0.0.1:0/")),
    ("panel.url", target("http://127.0.0.1:70000/")),
    ("panel.url", target("http://[::1/")),
    ("panel.url", target("http://admin:s3cr3t-pw@127.0.0.1/")),
    ("panel.url", target("http://127.0.0.1/x")),
    ("panel.url", target("http://127.0.0.1/?token=s3cr3t-pw/")),
    ("panel.url", target("http://127.0.0.1/#s3cr3t-pw/")),
    ("panel.url", target(URL, FORM, Tls(TlsKind.PIN, PIN))),
    ("panel.url", target(URL, FORM, Tls(TlsKind.CA_FILE, "ca.pem"))),
    ("panel.auth", target(URL, Credentials())),
    ("panel.auth", target(URL, Credentials(password="s3cr3t-pw"))),
    ("panel.auth.password", target(URL, Credentials(username="admin"))),
    ("panel.auth.password", target(URL, Credentials(username="admin", password=""))),
    ("panel.auth.token", target(URL, Credentials(token=""))),
    ("panel.auth.token", target(URL, Credentials(token="s3cr3t-pw\n"))),
    ("panel.auth.token", target(URL, Credentials(token="s3cr3t-pw é"))),
    ("panel.auth.token", target(URL, Credentials(token="Bearer s3cr3t-pw"))),
    (
        "panel.auth.totpSecret",
        target(URL, Credentials(username="a", password="b", totp_secret="JBSWY3DPEHPK3PXP")),
    ),
    (
        "panel.auth.totpSecret",
        target(URL, Credentials(username="a", password="b", totp_secret="s3cr3t-pw!")),
    ),
    ("tls.pinSha256", target(HTTPS, FORM, Tls(TlsKind.PIN, "s3cr3t-pw"))),
    ("tls.caFile", target(HTTPS, FORM, Tls(TlsKind.CA_FILE, "/nowhere/ca.pem"))),
    ("tls.caFile", target(HTTPS, FORM, Tls(TlsKind.CA_FILE, __file__))),
]


@pytest.mark.parametrize(("field", "wrong"), WRONG)
def test_wrong_target_is_refused_by_its_field(field: str, wrong: NodeTarget) -> None:
    with pytest.raises(PanelMisconfigured) as caught:
        PanelApi(wrong)

    assert field == caught.value.field
    assert "s3cr3t-pw" not in str(caught.value)


RIGHT = [
    target(),
    target(URL, TOKEN),
    target("http://[::1]:2053/"),
    target("https://panel.example.net/a/b/"),
    target(HTTPS, FORM, Tls(TlsKind.OFF)),
    target(HTTPS, FORM, Tls(TlsKind.PIN, PIN)),
    target(HTTPS, FORM, Tls(TlsKind.PIN, ":".join(["AB"] * 32))),
    target(URL, Credentials(username="a", password="b", totp_secret="JBSWY3DPEHPK3PXPJBSWY3DPEH")),
    target(URL, Credentials(username="a", password="b", token="T" * 48)),
]


@pytest.mark.parametrize("right", RIGHT, ids=str)
async def test_right_target_is_taken(right: NodeTarget) -> None:
    async with PanelApi(right) as api:
        assert "PanelApi('nl-1')" == repr(api)
