"""The demo's verdict is taken from panels and can be bad: each number goes down when it should."""

from copy import deepcopy
from dataclasses import replace

import pytest

from cli.demo import verdict as judge
from cli.demo.verdict import Verdict

FOREIGN = ("friend",)


def client(email: str, **changes: object) -> dict:
    return {"email": email, "id": f"uuid of {email}", "subId": "s", "enable": True} | changes


def state(**inbounds: list[dict]) -> dict:
    """A panel's state by `i1=[...]`, with a record and a row for each email."""
    emails = sorted({c["email"] for clients in inbounds.values() for c in clients})
    return {
        "inbounds": [
            {"id": int(name[1:]), "settings": {"clients": clients}}
            for name, clients in inbounds.items()
        ],
        "clients": [{"email": email, "comment": ""} for email in emails],
        "traffic": [{"email": email, "up": 0} for email in emails],
    }


GOOD = state(
    i1=[client("friend"), client("x3f-aa-g1"), client("x3f-bb-g1")],
    i2=[client("x3f-aa-g1"), client("x3f-bb-g1")],
)


def test_a_panel_that_holds_every_key_on_every_inbound_is_in_place() -> None:
    assert judge.is_in_place(GOOD, ("aa", "bb"), FOREIGN)
    assert {"aa": {1, 2}, "bb": {1, 2}} == judge.keys_on(GOOD, ("aa", "bb"), FOREIGN)
    assert ("x3f-aa-g1", "x3f-bb-g1") == judge.ours(GOOD, FOREIGN)


@pytest.mark.parametrize(
    "broken",
    {
        "a key is missing": state(i1=[client("x3f-aa-g1")], i2=[client("x3f-aa-g1")]),
        "a key is missing on one inbound": state(
            i1=[client("x3f-aa-g1"), client("x3f-bb-g1")], i2=[client("x3f-aa-g1")]
        ),
        "a key is switched off": state(
            i1=[client("x3f-aa-g1"), client("x3f-bb-g1", enable=False)],
            i2=[client("x3f-aa-g1"), client("x3f-bb-g1")],
        ),
        "an unknown client is left over": state(
            i1=[client("x3f-aa-g1"), client("x3f-bb-g1"), client("x3f-cc-g1")],
            i2=[client("x3f-aa-g1"), client("x3f-bb-g1")],
        ),
        "two generations of one key": state(
            i1=[client("x3f-aa-g1"), client("x3f-bb-g1"), client("x3f-aa-g2")],
            i2=[client("x3f-aa-g1"), client("x3f-bb-g1")],
        ),
        "an email stands twice": state(
            i1=[client("x3f-aa-g1"), client("x3f-bb-g1"), client("x3f-bb-g1")],
            i2=[client("x3f-aa-g1"), client("x3f-bb-g1")],
        ),
        "an empty panel": state(i1=[], i2=[]),
    }.values(),
)
def test_a_panel_that_holds_less_or_more_is_not_in_place(broken: dict) -> None:
    assert not judge.is_in_place(broken, ("aa", "bb"), FOREIGN)


def test_healed_means_equal_to_what_was_before_the_damage() -> None:
    """Back under another credential, half back or gone: none of these is healed."""
    other, half, gone = deepcopy(GOOD), deepcopy(GOOD), deepcopy(GOOD)
    other["inbounds"][0]["settings"]["clients"][1]["id"] = "another"
    del half["inbounds"][1]["settings"]["clients"][0]
    for inbound in gone["inbounds"]:
        clients = inbound["settings"]["clients"]
        clients[:] = [c for c in clients if c["email"] != "x3f-aa-g1"]

    counts = [judge.healed(GOOD, now, ("x3f-aa-g1", "x3f-bb-g1")) for now in (other, half, gone)]

    assert 2 == judge.healed(GOOD, deepcopy(GOOD), ("x3f-aa-g1", "x3f-bb-g1"))
    assert [1, 1, 1] == counts


@pytest.mark.parametrize(
    ("part", "field"), [("clients", "comment"), ("traffic", "up"), ("inbounds", "subId")]
)
def test_one_changed_field_of_a_foreign_client_is_touching_it(part: str, field: str) -> None:
    after = deepcopy(GOOD)
    rows = after["inbounds"][0]["settings"]["clients"] if part == "inbounds" else after[part]
    next(row for row in rows if row["email"] == "friend")[field] = "changed"

    assert (1, 0) == (
        judge.untouched(GOOD, deepcopy(GOOD), FOREIGN),
        judge.untouched(GOOD, after, FOREIGN),
    )


def test_writes_are_counted_from_the_panels_log() -> None:
    assert 2 == judge.writes_of([{"write": True}, {"write": False}, {"write": True}])


RIGHT = Verdict(
    nodes=3, keys=10, healed=6, damaged=6, foreign_untouched=6, foreign=6, second_cycle_writes=0,
    in_place=True, in_sync=True,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"healed": 5}, {"foreign_untouched": 5}, {"second_cycle_writes": 1}, {"in_place": False},
        {"in_sync": False},
    ],
    ids=str,
)  # fmt: skip
def test_one_thing_that_is_wrong_makes_the_demo_fail(changes: dict) -> None:
    assert RIGHT.converged
    assert not replace(RIGHT, **changes).converged
    assert replace(RIGHT, **changes).document()["converged"] is False
