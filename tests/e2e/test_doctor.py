"""The doctor finds what does not work, and every address that no declared node explains."""

from tests.e2e.operator import BY_TOKEN, node, shape


def found(document: dict, level: str) -> list[tuple[str, str]]:
    return [(one["area"], one["subject"]) for one in document["checks"] if one["level"] == level]


async def test_a_sound_installation_is_called_so(operator, start_panel) -> None:
    panel = await start_panel("2.9.4")
    await operator.set_up(node("a", panel.url))

    document = await operator.ask("doctor", X3FLEET_CONTROLLER__TURN_S="60")

    assert document["healthy"]
    assert {
        "healthy": "bool",
        "checks": [
            {"area": "str", "subject": "str", "level": "str", "message": "str", "hint": "null"}
        ],
    } == shape(document)
    [told] = [one["message"] for one in document["checks"] if one["area"] == "nodes"]
    assert "reachable, logged in, 3x-ui 2.9.4, API 2.x, Xray unknown, 1 inbound bound" == told
    assert 0 == panel.writes


async def test_addresses_that_no_node_explains_are_found(operator, start_panel) -> None:
    """In variables, in the database, in the panels' own inbounds; each by its place."""
    panel, gone = await start_panel("3.6.0"), await start_panel("2.9.4")
    await operator.set_up(node("a", panel.url), node("left", gone.url))
    await operator.ask("manifests", "apply", str(operator.declare(node("a", panel.url))))
    inbound = next(iter(panel.panel.state.inbounds.values()))
    inbound.listen = "203.0.113.9"
    inbound.stream = inbound.stream.replace(
        '"externalProxy":[]', '"externalProxy":[{"dest":"old.example.org","port":443}]'
    )
    panel.panel.touch()

    document = await operator.ask(
        "doctor", code=2,
        X3FLEET_OLD_PANEL="https://admin:hunter2@nl9.example.net:2053/x/",
        X3FLEET_DATABSE__URL="typo",
    )  # fmt: skip

    text = str(document)
    assert [
        ("endpoints", "a"), ("endpoints", "a"), ("endpoints", "left"),
        ("endpoints", "X3FLEET_OLD_PANEL"), ("settings", "X3FLEET_DATABSE__URL"),
        ("settings", "X3FLEET_OLD_PANEL"),
    ] == sorted(found(document, "warn"), key=lambda one: (one[0], one[1].lower()))  # fmt: skip
    for endpoint in ("nl9.example.net:2053", "203.0.113.9", "old.example.org"):
        assert endpoint in text
    assert "hunter2" not in text


async def test_one_panel_behind_two_nodes_is_found(operator, start_panel) -> None:
    """Two names of one host are two addresses; the panel's GUID gives them away."""
    panel = await start_panel("3.6.0")
    twin = panel.url.replace("127.0.0.1", "localhost")
    await operator.set_up(node("a", panel.url), node("b", twin, auth=BY_TOKEN))

    document = await operator.ask("doctor", code=1)

    assert [("nodes", "a, b")] == found(document, "bad")


async def test_what_does_not_work_is_found_together(operator, start_panel) -> None:
    """A dead panel and a missing secret, each beside a node that works."""
    panel, dead = await start_panel("3.2.8"), "http://127.0.0.2:9/"
    auth = "{token: {env: FORGOTTEN_TOKEN}}"
    await operator.set_up(
        node("dead", dead), node("secret", panel.url + "x/", auth=auth), node("fine", panel.url)
    )

    document = await operator.ask("doctor", code=1)
    missing = await operator.ask("doctor", code=1, X3FLEET_DATABASE__URL="sqlite:///nowhere.db")

    assert [("nodes", "dead"), ("nodes", "secret")] == found(document, "bad")
    assert ("nodes", "fine") in found(document, "ok")
    assert [("database", "sqlite:///nowhere.db")] == found(missing, "bad")
    # Which variables nodes need is not known then: nothing is said about PANEL_PASSWORD.
    assert [] == found(missing, "warn")


async def test_a_database_that_everybody_may_read_is_found(operator) -> None:
    await operator.ask("db", "upgrade")
    operator.database.chmod(0o644)

    document = await operator.ask("doctor", code=2)

    assert [("database", str(operator.database))] == found(document, "warn")
    assert [f"chmod o= {operator.database}"] == [
        one["hint"] for one in document["checks"] if one["level"] == "warn"
    ]
