"""Writing to simulated panels of every family: each write is one request, and does what it says."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from controller.core.effects import MemberResult, MemberVerdict, Verb, Verdict, Write
from controller.core.observed import ObservedClient
from controller.panels.act import LIMIT_BYTES
from controller.panels.panel import Panel
from desired_state.model.ids import Email, InboundId
from simulator.app import PanelOptions
from tests.contract.panels.listeners import (
    HYSTERIA2,
    SS_32,
    TROJAN,
    VLESS,
    VLESS_WS,
    VMESS,
    Listener,
)
from tests.contract.panels.stage import (
    EVERYWHERE,
    GIB,
    NEW,
    OLD,
    VERSIONS,
    Stage,
    held,
    make_record,
    make_target,
    params,
    stage,
    versions,
)

BULK = versions("3.2.0")
BULK_ENABLE = versions("3.4.1")


async def emails(scene: Stage) -> list[str]:
    return [client.email for client in (await scene.look()).clients]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("version", "listener"), EVERYWHERE)
async def test_several_are_created_in_as_few_calls_as_the_version_allows(
    version: str, listener: Listener
) -> None:
    async with stage(version, listener) as scene:
        await scene.look()
        scene.forget()
        records = [make_record(n, listener, scene.inbounds[listener.name]) for n in range(3)]

        outcome = await scene.create(*records)

        assert Verdict.APPLIED is outcome.verdict
        assert (3 if version == "3.1.0" else 1) == len(scene.requests())
        assert [record.email for record in records] == await emails(scene)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("version", "listener"), EVERYWHERE)
async def test_an_update_changes_what_we_manage_and_passes_on_the_rest(
    version: str, listener: Listener
) -> None:
    async with stage(version, listener) as scene:
        record = make_record(1, listener, scene.inbounds[listener.name])
        await scene.create(record)
        await scene.hand.edit_client(record.email, {"comment": "by hand"})
        before = await scene.client(record.email)
        changed = replace(record, total_bytes=GIB, limit_ip=1, expiry_ms=0, current=held(before))
        scene.forget()

        outcome = await scene.write(Verb.UPDATE, changed)

        assert Verdict.APPLIED is outcome.verdict
        assert 1 == len(scene.requests())
        after = await scene.client(record.email)
        expected = replace(before, total_bytes=GIB, limit_ip=1, expiry_ms=0)
        assert expected == after
        assert "by hand" == after.comment


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("version", "listener"), EVERYWHERE)
async def test_a_client_is_switched_off_on_and_deleted(version: str, listener: Listener) -> None:
    async with stage(version, listener) as scene:
        inbound = scene.inbounds[listener.name]
        first, second = (make_record(n, listener, inbound) for n in (1, 2))
        await scene.create(first, second)
        seen: list[bool] = []

        for verb, enable in ((Verb.DISABLE, False), (Verb.ENABLE, True)):
            current = held(await scene.client(first.email))
            await scene.write(verb, replace(first, enable=enable, current=current))
            seen.append((await scene.client(first.email)).enable)
        current = held(await scene.client(first.email))
        outcome = await scene.write(Verb.DELETE, replace(first, current=current))

        assert [False, True] == seen
        assert Verdict.APPLIED is outcome.verdict
        assert [second.email] == await emails(scene)


@pytest.mark.parametrize("version", params(OLD))
async def test_up_to_3_0_2_a_client_may_be_created_switched_off(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"], enable=False)

        await scene.create(record)

        assert not (await scene.client(record.email)).enable


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_a_new_client_carries_its_note(version: str) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        record = make_record(1, VLESS, scene.inbounds["vless"], comment="key 1", group="fleet")

        await scene.create(record)

        client = await scene.client(record.email)
        comment = "key 1" if scene.features.has_comment else ""
        group = "fleet" if scene.features.has_group else ""
        assert (comment, group) == (client.comment, client.group)


@pytest.mark.parametrize("version", params(BULK))
async def test_one_client_is_created_on_inbounds_of_many_protocols(version: str) -> None:
    async with stage(version, VLESS_WS, VMESS, TROJAN, SS_32, HYSTERIA2) as scene:
        every = tuple(scene.inbounds.values())
        record = make_record(1, TROJAN, *every)

        await scene.create(record, make_record(2, TROJAN, *every))

        client = await scene.client(record.email)
        credentials = (record.uuid, record.password, record.auth)
        assert every == client.inbound_ids
        assert credentials == (client.uuid, client.password, client.auth)


@pytest.mark.parametrize("version", params(NEW))
async def test_attach_and_detach_change_only_where_a_client_is(version: str) -> None:
    async with stage(version, VLESS, VLESS_WS) as scene:
        home, other = scene.inbounds.values()
        record = make_record(1, VLESS, home, flow="")
        await scene.create(record)
        before = await scene.client(record.email)

        await scene.write(Verb.ATTACH, replace(record, inbound_ids=(other,)))
        both = await scene.client(record.email)
        await scene.write(Verb.DETACH, replace(record, inbound_ids=(home,)))
        moved = await scene.client(record.email)

        assert replace(before, inbound_ids=(home, other), flow_known=both.flow_known) == both
        assert replace(before, inbound_ids=(other,)) == moved


@pytest.mark.parametrize("version", params(BULK))
async def test_many_are_attached_detached_and_deleted_in_one_call_each(version: str) -> None:
    async with stage(version, VMESS, VLESS_WS) as scene:
        home, other = scene.inbounds.values()
        records = [make_record(n, VMESS, home) for n in range(3)]
        await scene.create(*records)
        elsewhere = [replace(record, inbound_ids=(other,)) for record in records]
        scene.forget()

        await scene.write(Verb.ATTACH, *elsewhere)
        attached = [c.inbound_ids for c in (await scene.look()).clients]
        await scene.write(Verb.DETACH, *elsewhere)
        detached = [c.inbound_ids for c in (await scene.look()).clients]
        await scene.write(Verb.DELETE, *records)

        posts = [asked for asked in scene.requests() if asked.startswith("POST")]
        names = ("bulkAttach", "bulkDetach", "bulkDel")
        assert [f"POST /panel/api/clients/{name}" for name in names] == posts
        assert [(home, other)] * 3 == attached
        assert [(home,)] * 3 == detached
        assert [] == await emails(scene)


@pytest.mark.parametrize("version", params(BULK_ENABLE))
async def test_many_are_switched_off_and_on_in_one_call_each(version: str) -> None:
    async with stage(version, VLESS) as scene:
        records = [make_record(n, VLESS, scene.inbounds["vless"]) for n in range(3)]
        await scene.create(*records)
        scene.forget()

        await scene.write(Verb.DISABLE, *records)
        off = [c.enable for c in (await scene.look()).clients]
        await scene.write(Verb.ENABLE, *records)
        on = [c.enable for c in (await scene.look()).clients]

        posts = [asked for asked in scene.requests() if asked.startswith("POST")]
        assert [
            "POST /panel/api/clients/bulkDisable",
            "POST /panel/api/clients/bulkEnable",
        ] == posts
        assert [False] * 3 == off
        assert [True] * 3 == on


@pytest.mark.parametrize("version", params(BULK))
async def test_a_bulk_answer_is_told_member_by_member(version: str) -> None:
    async with stage(version, VLESS) as scene:
        inbound = scene.inbounds["vless"]
        here, gone = make_record(1, VLESS, inbound), make_record(2, VLESS, inbound)
        await scene.create(here)

        created = await scene.write(
            Verb.CREATE, gone, replace(here, sub_id="another"), make_record(3, VLESS, inbound)
        )
        deleted = await scene.write(Verb.DELETE, here, replace(gone, email=Email("nobody")))

        assert [(here.email, MemberVerdict.SKIPPED)] == [
            (m.email, m.verdict) for m in created.members
        ]
        absent = MemberResult(Email("nobody"), MemberVerdict.ABSENT, "client not found")
        assert (absent,) == deleted.members
        assert [gone.email, make_record(3, VLESS, inbound).email] == await emails(scene)


@pytest.mark.parametrize("version", params(BULK))
async def test_attaching_many_names_who_is_not_there(version: str) -> None:
    async with stage(version, VMESS, VLESS_WS) as scene:
        home, other = scene.inbounds.values()
        here = make_record(1, VMESS, home)
        await scene.create(here)
        nobody = replace(here, email=Email("nobody"), inbound_ids=(other,))

        outcome = await scene.write(Verb.ATTACH, replace(here, inbound_ids=(other,)), nobody)

        absent = MemberResult(Email("nobody"), MemberVerdict.ABSENT, "record not found")
        assert (absent,) == outcome.members
        assert (home, other) == (await scene.client(here.email)).inbound_ids


@pytest.mark.parametrize("version", params(BULK))
async def test_attaching_many_to_a_missing_inbound_skips_them_all(version: str) -> None:
    async with stage(version, VMESS) as scene:
        records = [make_record(n, VMESS, scene.inbounds["vmess"]) for n in (1, 2)]
        await scene.create(*records)
        nowhere = [replace(record, inbound_ids=(InboundId(999_999),)) for record in records]

        outcome = await scene.write(Verb.ATTACH, *nowhere)

        assert [MemberVerdict.SKIPPED] * 2 == [member.verdict for member in outcome.members]


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_deleting_who_is_not_there_is_at_most_refused(version: str) -> None:
    async with stage(version, VLESS) as scene:
        inbound = scene.inbounds["vless"]
        await scene.create(make_record(1, VLESS, inbound), make_record(2, VLESS, inbound))

        outcome = await scene.write(Verb.DELETE, make_record(7, VLESS, inbound))

        told = scene.features.deletes_by_email
        assert (Verdict.REJECTED if told else Verdict.APPLIED) is outcome.verdict
        assert ([MemberVerdict.ABSENT] if told else []) == [m.verdict for m in outcome.members]
        assert 2 == len(await emails(scene))


@pytest.mark.parametrize("version", params(VERSIONS))
async def test_a_refusal_is_an_outcome(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)

        outcome = await scene.write(Verb.CREATE, replace(record, sub_id="another"))

        assert Verdict.REJECTED is outcome.verdict
        assert record.email in outcome.cause
        assert 0 < outcome.sent_bytes
        assert outcome.ended_at is not None


@pytest.mark.parametrize("version", ["2.9.4", "3.0.2", "3.6.0"])
@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("empty_200", Verdict.UNKNOWN),
        ("empty_200_applied", Verdict.UNKNOWN),
        ("error_500", Verdict.UNKNOWN),
        ("html_200", Verdict.UNKNOWN),
        ("truncated", Verdict.UNKNOWN),
        ("bad_gateway_502", Verdict.UNKNOWN),
        ("session_expired", Verdict.NOT_SENT),
        ("database_locked", Verdict.REJECTED),
    ],
)
async def test_an_answer_that_says_nothing_is_never_success(
    version: str, fault: str, verdict: Verdict
) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        scene.simulated.faults.arm({"kind": fault, "method": "POST"})

        outcome = await scene.write(Verb.CREATE, make_record(1, VLESS, scene.inbounds["vless"]))

        assert verdict is outcome.verdict
        assert outcome.cause


async def test_a_write_is_never_repeated() -> None:
    async with stage("3.6.0", VLESS) as scene:
        await scene.look()
        scene.forget()
        scene.simulated.faults.arm({"kind": "error_500", "method": "POST", "count": None})

        await scene.write(Verb.CREATE, make_record(1, VLESS, scene.inbounds["vless"]))

        assert ["POST /panel/api/clients/add"] == scene.requests()


async def test_nothing_is_sent_to_a_panel_that_changed_its_family_since_the_look() -> None:
    async with stage("2.9.4", VLESS) as scene:
        await scene.look()
        record = make_record(1, VLESS, scene.inbounds["vless"])
        scene.simulated.upgrade("3.6.0")
        scene.simulated.clock.advance(10)

        outcome = await scene.panel.act(
            Write(scene.target, Verb.CREATE, (record,), scene.inbounds["vless"])
        )

        assert Verdict.NOT_SENT is outcome.verdict
        assert [] == await emails(scene)


async def test_a_body_that_no_panel_takes_is_not_sent() -> None:
    async with stage("3.6.0", VLESS) as scene:
        await scene.look()
        scene.forget()
        inbound = scene.inbounds["vless"]
        long = "x" * (LIMIT_BYTES // 2)

        outcome = await scene.write(
            Verb.CREATE, *(make_record(n, VLESS, inbound, comment=long) for n in (1, 2))
        )

        assert Verdict.NOT_SENT is outcome.verdict
        assert [] == scene.requests()


@pytest.mark.parametrize(
    ("version", "verb"),
    [("2.9.4", Verb.DELETE), ("2.9.4", Verb.UPDATE), ("2.9.4", Verb.ATTACH), ("3.1.0", Verb.CREATE),
     ("3.2.8", Verb.DISABLE), ("3.6.0", Verb.UPDATE)],
)  # fmt: skip
async def test_what_the_version_has_no_wide_call_for_is_refused_before_any_request(
    version: str, verb: Verb
) -> None:
    async with stage(version, VLESS) as scene:
        await scene.look()
        scene.forget()
        inbound = scene.inbounds["vless"]

        outcome = await scene.write(verb, *(make_record(n, VLESS, inbound) for n in (1, 2)))

        assert Verdict.REJECTED is outcome.verdict
        assert f"no call to {verb} several clients" in outcome.cause
        assert [] == scene.requests()


async def test_clients_of_two_inbounds_do_not_go_into_one_call_of_a_2_x_panel() -> None:
    async with stage("2.9.4", VLESS, VMESS) as scene:
        await scene.look()
        scene.forget()
        first, second = scene.inbounds.values()

        outcome = await scene.write(
            Verb.CREATE, make_record(1, VLESS, first), make_record(2, VMESS, second)
        )

        assert Verdict.REJECTED is outcome.verdict
        assert [] == scene.requests()


@pytest.mark.parametrize("version", params(OLD))
async def test_no_secret_shows_in_an_outcome(version: str) -> None:
    async with stage(version, TROJAN) as scene:
        record = make_record(1, TROJAN, scene.inbounds["trojan"])
        await scene.create(record)
        nobody = replace(record, email=Email("nobody"))

        outcomes = [
            await scene.write(Verb.CREATE, record),
            await scene.write(Verb.DELETE, nobody),
            await scene.write(Verb.UPDATE, replace(nobody, current=None)),
        ]

        shown = repr(outcomes)
        assert not [s for s in (record.password, record.sub_id, record.uuid) if s in shown]


async def test_a_write_to_a_target_that_cannot_work_is_not_sent() -> None:
    target = make_target("http://")
    write = Write(target, Verb.DELETE, (make_record(1, VLESS, InboundId(1)),))

    outcome = await Panel(target).act(write)

    assert Verdict.NOT_SENT is outcome.verdict
    assert "panel.url" in outcome.cause


async def test_nothing_that_is_meant_for_one_node_reaches_another() -> None:
    """Three panels at once, each with a path and a password of its own."""
    names = ("2.9.4", "3.2.8", "3.6.0")
    async with contextlib.AsyncExitStack() as stack:
        scenes = []
        for version in names:
            options = PanelOptions(base_path=f"/path-{version}/", password=f"secret-{version}")
            scenes.append(await stack.enter_async_context(stage(version, VLESS, options=options)))

        records = [make_record(n, VLESS, s.inbounds["vless"]) for n, s in enumerate(scenes)]
        pairs = zip(scenes, records, strict=True)
        outcomes = await asyncio.gather(*(scene.create(record) for scene, record in pairs))

        assert [Verdict.APPLIED] * 3 == [outcome.verdict for outcome in outcomes]
        assert [[record.email] for record in records] == [await emails(scene) for scene in scenes]


def test_a_look_gives_what_a_write_needs() -> None:
    client = ObservedClient(email="a", inbound_ids=(InboundId(1),), uuid="u", raw={"k": 1})

    assert {"k": 1} == held(client).raw
