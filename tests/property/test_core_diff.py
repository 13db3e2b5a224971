"""Properties of the comparison of one client: what differs is named, what is no drift is passed over."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core import effects as fx
from controller.core.binding import survey_inbounds
from controller.core.diff import Difference, credentials_of, diff_client, is_settled
from controller.core.expect import Wanted
from controller.core.features import Version
from controller.core.memo import derive_wants
from controller.core.observed import ObservedClient
from desired_state.model.generation import JournalRow
from desired_state.model.ids import InboundId
from tests.fakes import people
from tests.fakes.panel import TROJAN, VLESS
from tests.fakes.people import NL
from tests.fakes.world import World
from tests.faults.scenarios import email_of, settled

VERSIONS: list[Version] = [(2, 9, 4), (3, 0, 2), (3, 2, 8), (3, 6, 0)]
CHANGES = {
    "expiry": {"expiry_ms": 12345},
    "quota": {"total_bytes": 77},
    "devices": {"limit_ip": 9},
    "flow": {"flow": "none-such"},
    "reset": {"reset": 30},
    "tg_id": {"tg_id": 4},
    "sub_id": {"sub_id": "of-somebody"},
    "credentials": {"uuid": "11111111-1111-4111-8111-111111111111"},
    "enable": {"enable": False},
}


def client_of(version: Version) -> tuple[World, Wanted, JournalRow, ObservedClient]:
    """Return a client that is as it should be, on VLESS alone, with limits."""
    world = settled(version, "a", VLESS)
    people.set_devices(world.store, "a", 2)
    people.set_quota(world.store, "a", 10**9)
    for _ in range(3):
        world.turn()
    desired = world.store.read_desired(fx.ReadDesired(NL), world.clock.now)
    look = world.panel.look()
    rows = {row.email: row for row in desired.journal}
    survey = survey_inbounds(desired, look.inbounds)
    wants = derive_wants(desired, survey, look.features, rows, world.clock.now)
    email = email_of(version, "a")
    client = next(c for c in look.clients if c.email == email)
    return world, wants.by_email[email], rows[email], client


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_client_as_it_should_be_does_not_differ(version: Version) -> None:
    world, want, row, client = client_of(version)

    assert Difference(()) == diff_client(want, row, client, world.clock.now)
    assert is_settled(want, row, client)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@given(names=st.sets(st.sampled_from(sorted(CHANGES))))
def test_every_changed_field_is_named_and_no_other(version: Version, names: set[str]) -> None:
    world, want, row, client = client_of(version)
    edited = client
    for name in names:
        edited = replace(edited, **CHANGES[name])

    found = diff_client(want, row, edited, world.clock.now)

    # A limit that is rewritten explains why the panel had switched the client off.
    explained = {"enable"} & names if names & {"expiry", "quota"} else set()
    assert names - explained <= set(found.fields) <= names
    # The quick answer is never yes where the careful one finds anything, nor the quickest.
    as_before = credentials_of(row, edited) == credentials_of(row, client)
    assert is_settled(want, row, edited) is not bool(names)
    assert is_settled(want, row, edited, as_compared=as_before) is not bool(names)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@given(
    up=st.integers(0, 10**7),
    down=st.integers(0, 10**7),
    comment=st.text(max_size=10),
    raw=st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)
def test_counters_notes_and_unknown_fields_are_no_difference(
    version: Version, up: int, down: int, comment: str, raw: dict[str, object]
) -> None:
    world, want, row, client = client_of(version)
    other = replace(client, up_bytes=up, down_bytes=down, comment=comment, group="x", raw=raw)

    assert not diff_client(want, row, other, world.clock.now)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_client_that_the_panel_switched_off_over_its_quota_is_left_off(version: Version) -> None:
    world, want, row, client = client_of(version)
    off = replace(client, enable=False, up_bytes=10**9, down_bytes=1)

    assert not diff_client(want, row, off, world.clock.now)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_a_limit_of_devices_that_reads_zero_is_no_difference(version: Version) -> None:
    """Panels without fail2ban reset it."""
    world, want, row, client = client_of(version)

    assert not diff_client(want, row, replace(client, limit_ip=0), world.clock.now)


@given(extra=st.sets(st.integers(5, 9), max_size=3))
def test_an_attachment_that_we_never_made_is_left_alone(extra: set[int]) -> None:
    world, want, row, client = client_of((3, 6, 0))
    attached = tuple(sorted({*client.inbound_ids, *map(InboundId, extra)}))

    found = diff_client(want, row, replace(client, inbound_ids=attached), world.clock.now)

    assert ((), ()) == (found.attach, found.detach)


def test_a_missing_attachment_is_named() -> None:
    world = settled((3, 6, 0), "a", VLESS, TROJAN)
    world.panel.edit_by_hand(email_of((3, 6, 0), "a"), inbound_ids=(1,))
    effects = world.turn().effects

    attached = [e for e in effects if isinstance(e, fx.Write) and e.verb is fx.Verb.ATTACH]

    assert [(2,)] == [member.inbound_ids for e in attached for member in e.members]
