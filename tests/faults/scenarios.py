"""Worlds just before something happens, each on panels of several versions.

Each builder arranges a settled world, then lets people (or panels) act; the explorer runs turns from
there. Callers: the explorer, mutants. Not here: faults, what must hold.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from controller.core.features import Version
from controller.core.observed import ObservedClient, ObservedInbound
from desired_state.model.ids import Generation, InboundId
from desired_state.model.node import Match, Mode
from desired_state.model.request import RequestKind
from tests.fakes import people
from tests.fakes.clock import START
from tests.fakes.faults import Fault
from tests.fakes.panel import SS_2022, TROJAN, VLESS, VMESS, FakePanel
from tests.fakes.people import DE, NL, key_id
from tests.fakes.store import OWNERSHIP
from tests.fakes.world import World
from tests.faults import inbound_scenarios as declared
from tests.faults.settling import settle

V29, V30, V31, V32, V36 = (2, 9, 4), (3, 0, 2), (3, 1, 0), (3, 2, 8), (3, 6, 0)
V28: Version = (2, 8, 11)
V34: Version = (3, 4, 2)
MAIN: tuple[Version, ...] = (V29, V32, V36)
EVERY: tuple[Version, ...] = (V28, V29, V30, V31, V32, V34, V36)


@dataclass(frozen=True)
class Scenario:
    """A named world on several versions.

    `rounds`: how many rounds faults may hit. `base`: faults that belong to the story itself.
    `attend`: what a person does after each round; must be safe to repeat.
    `pairs`: versions on which every pair of faults is tried in `make test` (all of them in `make deep`).
    `settles`: False where a debt is tried again in every turn. `asks_once`: a person asked for something
    that is done by one look. `swapped`: a stranger took the place of a client of ours. `may_never_be`:
    what is created may just as well be revoked before it is.
    """

    name: str
    build: Callable[[Version], World]
    versions: tuple[Version, ...] = MAIN
    rounds: int = 1
    base: tuple[tuple[int, Fault], ...] = ()
    attend: Callable[[World], None] | None = None
    pairs: tuple[Version, ...] = ()
    settles: bool = True
    asks_once: bool = False
    swapped: bool = False
    may_never_be: bool = False


def settled(version: Version, letters: str, *inbounds: ObservedInbound) -> World:
    """Make one node whose keys are all live, with counts at zero."""
    world = World.of(FakePanel.of(version, *inbounds))
    for letter in letters:
        people.want(world.store, letter)
    return settle(world)


def email_of(version: Version, letter: str, generation: int = 1, inbound: int = 1) -> str:
    """Return the email of a key's client on a panel of a version."""
    where = InboundId(inbound) if version < (3, 1, 0) else None
    return OWNERSHIP.email(key_id(letter), Generation(generation), where)


def stranger(n: int = 1, inbound: int = 1) -> ObservedClient:
    """Make a client that has nothing to do with us."""
    return ObservedClient(
        email=f"guest{n}",
        inbound_ids=(InboundId(inbound),),
        sub_id=f"sub-{n}",
        uuid=f"00000000-0000-4000-8000-{n:012d}",
        password=f"pw-{n}",
        raw={"extra": n},
    )


def marked(version: Version, letter: str, generation: int = 1) -> ObservedClient:
    """Make a client that carries a valid mark of ours."""
    email = email_of(version, letter, generation)
    return replace(stranger(77), email=email, sub_id=OWNERSHIP.mark(email))


# -- builders --------------------------------------------------------------------------------------


def create_3(version: Version) -> World:
    world = World.of(FakePanel.of(version))
    for letter in "abc":
        people.want(world.store, letter)
    return world


def create_on_two_inbounds(version: Version) -> World:
    second = VMESS if version != V31 else replace(VLESS, id=InboundId(2), port=20002)
    world = World.of(FakePanel.of(version, VLESS, second))
    for letter in "ab":
        people.want(world.store, letter)
    return world


def delete_2_of_4(version: Version) -> World:
    world = settled(version, "abcd")
    people.unwant(world.store, "a")
    people.unwant(world.store, "c")
    return world


def rotate_2_of_3(version: Version) -> World:
    world = settled(version, "abc")
    people.rotate(world.store, "a")
    people.rotate(world.store, "c")
    return world


def mixed(version: Version) -> World:
    world = settled(version, "abcd")
    panel = world.panel
    panel.add_by_hand(stranger())
    panel.add_by_hand(marked(version, "q"))
    panel.edit_by_hand(email_of(version, "a"), total_bytes=7, raw={"extra": "kept"})
    panel.delete_by_hand(email_of(version, "b"))
    people.want(world.store, "e")
    people.unwant(world.store, "d")
    return world


def nothing_to_do(version: Version) -> World:
    world = settled(version, "ab")
    world.panel.add_by_hand(stranger())
    world.panel.use(email_of(version, "a"), 10, 20)
    return settle(world)


def rotate_1(version: Version) -> World:
    world = settled(version, "ab")
    people.rotate(world.store, "a")
    return world


def desired_wiped(version: Version) -> World:
    world = settled(version, "abcdef")
    people.forget_everything(world.store)
    return world


def revoked_all(version: Version) -> World:
    world = settled(version, "abcdef")
    for letter in "abcdef":
        people.unwant(world.store, letter)
    return world


def panel_replaced(version: Version) -> World:
    world = settled(version, "ab")
    people.rotate(world.store, "a")
    panel = world.panel
    panel.wipe()
    panel.inbounds = {}
    panel.set_inbound(replace(VLESS, port=33333))
    panel.set_guid("guid-2")
    panel.add_by_hand(stranger())
    return world


def expired_now(version: Version) -> World:
    world = settled(version, "abc")
    people.set_until(world.store, "a", world.clock.now - timedelta(hours=1))
    return world


def expired_long_ago(version: Version) -> World:
    world = settled(version, "abc")
    people.set_until(world.store, "a", world.clock.now)
    settle(world)
    world.clock.advance(days=7, minutes=1)
    return world


def limits_changed(version: Version) -> World:
    world = settled(version, "abc")
    people.set_quota(world.store, "a", 10**9)
    people.set_until(world.store, "b", START + timedelta(days=30))
    people.set_devices(world.store, "b", 2)
    people.suspend(world.store, "c")
    return world


def thawed(version: Version) -> World:
    world = settled(version, "abc")
    people.suspend(world.store, "a")
    people.suspend(world.store, "b")
    settle(world)
    people.suspend(world.store, "a", suspended=False)
    people.suspend(world.store, "b", suspended=False)
    return world


def shadowsocks_renewed(version: Version) -> World:
    """One is renewed, one comes back, one was deleted by hand: Xray may serve none of them."""
    world = settled(version, "abcd", SS_2022)
    people.suspend(world.store, "b")
    settle(world)
    people.suspend(world.store, "b", suspended=False)
    people.set_until(world.store, "a", START + timedelta(days=30))
    world.panel.delete_by_hand(email_of(version, "c"))
    return world


def shadowsocks_deleted_by_hand(version: Version) -> World:
    """What comes back is what the running Xray was started with."""
    world = settled(version, "ab", SS_2022)
    world.panel.delete_by_hand(email_of(version, "a"))
    return world


def inbound_bound(version: Version) -> World:
    second = TROJAN if version != V31 else replace(VLESS, id=InboundId(2), port=20002)
    world = settled(version, "ab", VLESS, replace(second, enable=False))
    world.panel.set_inbound(second)
    people.ask(world.store, NL, RequestKind.REMATCH)
    return world


def inbound_unbound(version: Version) -> World:
    second = TROJAN if version != V31 else replace(VLESS, id=InboundId(2), port=20002)
    world = settled(version, "ab", VLESS, second)
    people.set_matches(world.store, NL, Match(port=VLESS.port))
    return world


def matched_again_while_off(version: Version) -> World:
    """The only inbound is off, and a person asks to choose anew: nothing fits, so nothing changes."""
    world = settled(version, "abc")
    world.panel.set_inbound(replace(VLESS, enable=False))
    people.ask(world.store, NL, RequestKind.REMATCH)
    return world


def bound_again_to_an_empty_list(version: Version) -> World:
    """A panel shows neither inbounds nor clients for a while, and a person accepts it as it is."""
    world = settled(version, "abc")
    people.ask(world.store, NL, RequestKind.REBIND)
    return world


def moved_to_another_inbound(version: Version) -> World:
    second = replace(VLESS, id=InboundId(2), port=20002)
    world = settled(version, "ab", VLESS, replace(second, enable=False))
    world.panel.set_inbound(second)
    people.set_matches(world.store, NL, Match(port=second.port))
    return world


def last_client(version: Version) -> World:
    world = settled(version, "a")
    people.unwant(world.store, "a")
    return world


def rotate_the_last(version: Version) -> World:
    world = settled(version, "a")
    people.rotate(world.store, "a")
    return world


def twins(version: Version) -> World:
    world = settled(version, "ab")
    world.panel.copy_by_hand(email_of(version, "a"))
    return world


def resurrected(version: Version) -> World:
    world = settled(version, "abc")
    world.panel.back_up()
    people.unwant(world.store, "a")
    settle(world)
    world.panel.restore()
    world.suspended.add(NL)
    return world


def restored_before_rotation(version: Version) -> World:
    world = settled(version, "abc")
    world.panel.back_up()
    people.rotate(world.store, "a")
    settle(world)
    world.panel.restore()
    world.suspended.add(NL)
    return world


def upsert_only(version: Version) -> World:
    world = settled(version, "abc")
    people.set_mode(world.store, NL, Mode.UPSERT_ONLY)
    people.unwant(world.store, "a")
    people.rotate(world.store, "b")
    people.want(world.store, "d")
    world.panel.edit_by_hand(email_of(version, "c"), total_bytes=9)
    return world


def observe_only(version: Version) -> World:
    world = settled(version, "abc")
    people.set_mode(world.store, NL, Mode.OBSERVE)
    people.unwant(world.store, "a")
    people.want(world.store, "d")
    world.panel.edit_by_hand(email_of(version, "c"), total_bytes=9)
    return world


def paused(version: Version) -> World:
    world = settled(version, "ab")
    people.set_mode(world.store, NL, Mode.PAUSED)
    people.unwant(world.store, "a")
    return world


def too_many_deletes(version: Version) -> World:
    world = settled(version, "abcdefgh")
    for letter in "abcdef":
        people.unwant(world.store, letter)
    return world


def move_between_nodes(version: Version) -> World:
    other = V36 if version < (3, 1, 0) else V29
    world = World.of(FakePanel.of(version), FakePanel.of(other, node=DE, guid="guid-de"))
    people.want(world.store, "a")
    people.want(world.store, "b")
    people.want(world.store, "c", DE)
    settle(world)
    people.move(world.store, "a", DE)
    return world


def drained(version: Version) -> World:
    world = settled(version, "abc")
    people.drain(world.store, NL)
    return world


def failed_over_and_back(version: Version) -> World:
    world = settled(version, "abc")
    people.fail_over(world.store, NL)
    return world


def credential_edited(version: Version) -> World:
    world = settled(version, "ab")
    world.panel.edit_by_hand(email_of(version, "a"), uuid="11111111-1111-4111-8111-111111111111")
    world.panel.edit_by_hand(email_of(version, "b"), sub_id="somebody-else", enable=False)
    return world


def email_taken(version: Version) -> World:
    world = settled(version, "a")
    taken = replace(stranger(5), email=email_of(version, "b"))
    world.panel.add_by_hand(taken)
    people.want(world.store, "b")
    people.want(world.store, "c")
    return world


def email_taken_then_rotated(version: Version) -> World:
    """Somebody replaced our client by another of the same name; a person rotates the key."""
    world = settled(version, "ab")
    email = email_of(version, "a")
    world.panel.delete_by_hand(email)
    world.panel.add_by_hand(replace(stranger(), email=email))
    people.rotate(world.store, "a")
    return world


def revoked_before_its_answer(version: Version) -> World:
    world = settled(version, "b")
    people.want(world.store, "a")
    return world


def revoke_a(world: World) -> None:
    """A person revokes the key that was just sold."""
    people.unwant(world.store, "a")


def case_twin(version: Version) -> World:
    """A stranger holds an email that differs from a wanted one in case alone."""
    world = settled(version, "a")
    taken = replace(stranger(5), email=email_of(version, "b").upper())
    world.panel.add_by_hand(taken)
    people.want(world.store, "b")
    people.want(world.store, "c")
    return world


def delete_refused(version: Version) -> World:
    world = settled(version, "abcd")
    world.panel.undeletable = frozenset({email_of(version, "a")})
    people.unwant(world.store, "a")
    people.unwant(world.store, "b")
    return world


def row_lost(version: Version) -> World:
    """A delete that was cut short took the row of a client and left the client."""
    world = settled(version, "abc")
    world.panel.lose_row(email_of(version, "a"))
    people.rotate(world.store, "a")
    people.unwant(world.store, "b")
    return world


def bulk_skips(version: Version) -> World:
    world = settled(version, "abcd")
    world.panel.stubborn = frozenset({email_of(version, "a")})
    people.unwant(world.store, "a")
    people.unwant(world.store, "b")
    return world


def upgraded(version: Version) -> World:
    world = settled(version, "abc")
    people.suspend(world.store, "a")
    settle(world)
    world.panel.upgrade(V36 if version == V29 else V32)
    people.want(world.store, "d")
    return world


def inbound_gone(version: Version) -> World:
    world = settled(
        version, "ab", VLESS, VMESS if version != V31 else replace(VLESS, id=InboundId(3), port=3)
    )
    world.panel.set_inbound(replace(VLESS, enable=False))
    people.want(world.store, "c")
    return world


def revoked_and_wanted_again(version: Version) -> World:
    world = settled(version, "ab")
    people.unwant(world.store, "a")
    people.want(world.store, "a")
    return world


def adopted(version: Version) -> World:
    world = settled(version, "ab")
    for number in (1, 2):
        world.panel.add_by_hand(replace(stranger(number), tg_id=5, comment="theirs"))
    people.adopt(world, "guest1", "g")
    return world


def adopted_then_rotated(version: Version) -> World:
    world = settle(adopted(version))
    people.rotate(world.store, "g")
    return world


def adopted_and_revoked_before_it_was_seen(version: Version) -> World:
    world = adopted(version)
    people.unwant(world.store, "g")
    return world


def adopted_and_deleted_by_hand(version: Version) -> World:
    world = settle(adopted(version))
    world.panel.delete_by_hand("guest1")
    return world


def released(version: Version) -> World:
    world = settle(adopted(version))
    people.release(world, "guest1")
    return world


def approve_all(world: World) -> None:
    """A person approves whatever is shown as withheld."""
    for name in world.panels:
        people.approve(world.store, name, world.clock.now)


OLD = (V28, V29, V30)
SCENARIOS: tuple[Scenario, ...] = (
    Scenario("create 3", create_3, EVERY, pairs=MAIN),
    Scenario("create on two inbounds", create_on_two_inbounds, EVERY),
    Scenario("delete 2 of 4", delete_2_of_4, EVERY, pairs=MAIN),
    Scenario("rotate 2 of 3", rotate_2_of_3, EVERY, pairs=(V36,)),
    Scenario("mixed with hand edits and an orphan", mixed, (*MAIN, V30)),
    Scenario("no-op", nothing_to_do, EVERY, pairs=MAIN),
    Scenario("old list still served", rotate_1, EVERY, rounds=2, base=((0, Fault.OLDEST),)),
    Scenario("desired wiped", desired_wiped, pairs=MAIN),
    Scenario("all revoked, approved", revoked_all, rounds=2, attend=approve_all),
    Scenario("panel replaced", panel_replaced, pairs=MAIN),
    Scenario("expired", expired_now, (V29, V32, V34, V36)),
    Scenario("expired a week ago", expired_long_ago),
    Scenario("limits changed", limits_changed, (*MAIN, V34)),
    Scenario("thawed", thawed, (*MAIN, V34)),
    Scenario("shadowsocks renewed", shadowsocks_renewed, EVERY, pairs=(V29,)),
    Scenario("shadowsocks deleted by hand", shadowsocks_deleted_by_hand, (V29, V30, V32)),
    Scenario("inbound bound", inbound_bound, (*MAIN, V31), asks_once=True),
    Scenario("inbound unbound", inbound_unbound, (*MAIN, V31)),
    Scenario("matched again while off", matched_again_while_off, (*MAIN, V31), asks_once=True),
    Scenario(
        "bound again to an empty list",
        bound_again_to_an_empty_list,
        rounds=2,
        base=((0, Fault.BARE),),
        asks_once=True,
    ),
    Scenario("moved to another inbound", moved_to_another_inbound, (*MAIN, V31)),
    Scenario("last client", last_client, EVERY, pairs=(V36,)),
    Scenario("rotate the last", rotate_the_last, OLD),
    Scenario("twins", twins, (V28, V29, V30)),
    Scenario("resurrected tombstone", resurrected),
    Scenario("restored from before a rotation", restored_before_rotation),
    Scenario("upsert-only", upsert_only, (V29, V36)),
    Scenario("observe", observe_only),
    Scenario("paused", paused),
    Scenario("too many deletes, approved", too_many_deletes, rounds=2, attend=approve_all),
    Scenario("move between two nodes", move_between_nodes, rounds=1),
    Scenario("drained", drained),
    Scenario("failed over, and back", failed_over_and_back),
    Scenario("credentials edited", credential_edited),
    Scenario("email taken", email_taken),
    Scenario("email taken, then rotated", email_taken_then_rotated, swapped=True),
    Scenario(
        "revoked before its answer",
        revoked_before_its_answer,
        rounds=2,
        attend=revoke_a,
        may_never_be=True,
    ),
    Scenario("email taken in another case", case_twin),
    Scenario("delete refused", delete_refused, settles=False),
    Scenario("row lost", row_lost, (V28, V29, V30), rounds=2),
    Scenario("bulk delete skips one", bulk_skips, (V32, V36)),
    Scenario("upgraded", upgraded, (V29, V30)),
    Scenario("inbound switched off", inbound_gone, (*MAIN, V31)),
    Scenario("revoked and wanted again", revoked_and_wanted_again),
    Scenario("adopted", adopted, EVERY, pairs=(V29,)),
    Scenario("adopted, then rotated", adopted_then_rotated, EVERY, pairs=(V36,)),
    Scenario("adopted and revoked at once", adopted_and_revoked_before_it_was_seen, EVERY),
    Scenario("adopted and deleted by hand", adopted_and_deleted_by_hand, EVERY),
    Scenario("released", released, EVERY, pairs=(V36,)),
    Scenario("inbound missing", declared.inbound_missing, EVERY, pairs=(V36,)),
    Scenario("only inbound missing", declared.only_inbound_missing, (*MAIN, V30)),
    Scenario("inbound changed", declared.inbound_changed, EVERY, pairs=(V36,)),
    Scenario("inbound leaves", declared.inbound_leaves, EVERY),
    Scenario("inbound leaves with a guest", declared.inbound_leaves_with_a_guest, (V29, V36)),
    Scenario("inbound in the way", declared.inbound_in_the_way, (V29, V36)),
    Scenario("inbound deleted by hand", declared.inbound_deleted_by_hand, (*MAIN, V31)),
)
