"""The oddities of panels that observing and acting bow to, each against the versions that have it."""

from dataclasses import replace

import pytest

from controller.core.compose import cut_writes
from controller.core.effects import MemberVerdict, Verb, Verdict, Write
from controller.core.features import Family
from desired_state.model.credentials import PASSWORD_BYTES, derive_secrets
from desired_state.model.ids import Email, InboundId
from simulator import by_hand
from simulator.app import PanelOptions
from tests.contract.panels.listeners import (
    HYSTERIA2,
    LEGACY,
    SS_32,
    SS_LEGACY,
    TROJAN,
    VLESS,
    VLESS_WS,
    VMESS,
    Listener,
)
from tests.contract.panels.stage import (
    GIB,
    NEW,
    OLD,
    VERSIONS,
    held,
    make_record,
    params,
    simulated,
    stage,
    versions,
)

BULK = versions("3.2.0")
HAND = "x3f-hand-theirs"


@pytest.mark.quirk("enable-is-both")
@pytest.mark.parametrize("version", simulated(VERSIONS))
@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("row", [True, False])
async def test_quirk_enable_is_both(version: str, *, record: bool, row: bool) -> None:
    """A client is served only if its record and its traffic row both say so."""
    async with stage(version, VLESS) as scene:
        client = {"id": "u1", "email": "both", "subId": "s1", "enable": record}
        by_hand.add_client(scene.simulated, scene.inbounds["vless"], client)
        scene.simulated.state.traffic.get("both").enable = row
        scene.simulated.touch()

        assert (record and row) is (await scene.client("both")).enable


@pytest.mark.parametrize(
    ("before", "after", "served"), [("2.3.15", "3.6.0", True), ("2.9.4", "3.6.0", False)]
)
async def test_what_an_upgrade_switched_on_is_seen_as_switched_on(
    before: str, after: str, *, served: bool
) -> None:
    """Across 3.1.0 every record is enabled; up to 2.8.0 the rows never said otherwise."""
    async with stage(before, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"], enable=False)
        await scene.create(record)
        off = await scene.client(record.email)
        scene.simulated.upgrade(after)
        scene.version = after

        upgraded = await scene.client(record.email)
        switched_off = replace(record, current=held(upgraded))
        await scene.write(Verb.DISABLE, switched_off)

        assert (False, served) == (off.enable, upgraded.enable)
        assert not (await scene.client(record.email)).enable


@pytest.mark.quirk("revived-lingers")
@pytest.mark.parametrize(
    ("after", "verb"), [("3.1.0", Verb.DISABLE), ("3.6.0", Verb.DISABLE), ("3.6.0", Verb.DELETE)]
)
async def test_quirk_revived_lingers(after: str, verb: Verb) -> None:
    async with stage("2.3.15", VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"], enable=False)
        await scene.create(record)
        scene.simulated.upgrade(after)
        scene.version = after
        xray = scene.simulated.xray

        revived = await scene.client(record.email)
        await scene.write(verb, replace(record, current=held(revived)))
        lingering = [email for _, email in xray.lingering()]
        outcome = await scene.panel.act(Write(scene.target, Verb.RESTART, ()))

        assert revived.enable
        assert [record.email] == lingering
        assert Verdict.APPLIED is outcome.verdict
        assert [] == xray.lingering()


@pytest.mark.quirk("update-replaces")
@pytest.mark.parametrize("version", params(NEW))
async def test_quirk_update_replaces(version: str) -> None:
    """Nothing that the record holds is lost by an update of something else."""
    async with stage(version, TROJAN) as scene:
        record = make_record(1, TROJAN, scene.inbounds["trojan"], comment="note")
        await scene.create(record)
        before = await scene.client(record.email)

        # Only what changes is known to the caller: no credential, no mark, no note.
        bare = replace(record, uuid="", password="", auth="", sub_id="", comment="", limit_ip=9)
        await scene.write(Verb.UPDATE, replace(bare, current=held(before)))

        after = await scene.client(record.email)
        assert replace(before, limit_ip=9) == after
        kept = {k: v for k, v in before.raw.items() if k not in ("limitIp", "updatedAt", "traffic")}
        assert kept == {k: after.raw[k] for k in kept}


@pytest.mark.parametrize("version", params(OLD))
async def test_unknown_keys_of_an_entry_travel_through_an_update(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        await scene.hand.edit_client(record.email, {"hue": "blue", "created_at": 5})
        current = held(await scene.client(record.email))

        await scene.write(Verb.UPDATE, replace(record, total_bytes=GIB, current=current))

        stored = await scene.hand.entry(scene.inbounds["vless"], record.email)
        assert ("blue", GIB) == (stored["hue"], stored["totalGB"])


@pytest.mark.quirk("email-always-sent")
@pytest.mark.parametrize("version", params(versions(before="3.0.2")))
async def test_quirk_email_always_sent(version: str) -> None:
    """Our own creates and updates never poison a panel: it takes creates afterwards."""
    async with stage(version, VMESS) as scene:
        inbound = scene.inbounds["vmess"]
        record = make_record(1, VMESS, inbound)
        await scene.create(record)
        current = held(await scene.client(record.email))
        await scene.write(Verb.UPDATE, replace(record, limit_ip=1, current=current))

        outcome = await scene.create(make_record(2, VMESS, inbound))

        assert Verdict.APPLIED is outcome.verdict
        assert "email" in await scene.hand.entry(inbound, record.email)


@pytest.mark.quirk("client-without-email")
@pytest.mark.parametrize("version", ["2.3.15", "2.9.4", "3.0.0"])
async def test_quirk_client_without_email(version: str) -> None:
    """It is seen with its position; creates are refused, updates and deletes go on."""
    async with stage(version, VLESS, VMESS) as scene:
        vless, vmess = scene.inbounds.values()
        mine = [make_record(n, VMESS, vmess) for n in (1, 2)]
        await scene.create(*mine)
        by_hand.add_client(scene.simulated, vless, {"id": "u0", "email": ""})
        by_hand.add_client(scene.simulated, vless, {"id": "u1"})

        look = await scene.look()
        created = await scene.create(make_record(3, VMESS, vmess))
        current = held(await scene.client(mine[0].email))
        updated = await scene.write(Verb.UPDATE, replace(mine[0], limit_ip=1, current=current))
        deleted = await scene.write(Verb.DELETE, mine[1])

        assert [(1,), ()] == [inbound.nameless_clients for inbound in look.inbounds]
        verdicts = [outcome.verdict for outcome in (created, updated, deleted)]
        assert [Verdict.REJECTED, Verdict.APPLIED, Verdict.APPLIED] == verdicts


@pytest.mark.quirk("ss-method-in-client")
@pytest.mark.parametrize("version", params(OLD))
@pytest.mark.parametrize(
    ("listener", "method"),
    [(SS_LEGACY, LEGACY), (SS_32, "")],
    ids=["legacy", "2022"],
)
async def test_quirk_ss_method_in_client(version: str, listener: Listener, method: str) -> None:
    async with stage(version, listener) as scene:
        inbound = scene.inbounds[listener.name]
        named = listener.settings["method"]
        record = make_record(1, listener, inbound, method=named)

        await scene.create(record)

        assert method == (await scene.hand.entry(inbound, record.email))["method"]


@pytest.mark.quirk("edited-shadowsocks-dropped")
@pytest.mark.parametrize("listener", [SS_LEGACY, SS_32, TROJAN], ids=lambda one: one.name)
@pytest.mark.parametrize("version", simulated(VERSIONS))
async def test_quirk_edited_shadowsocks_dropped(version: str, listener: Listener) -> None:
    """Not on real panels: whoever is connected there would be cut off."""
    async with stage(version, listener) as scene:
        record = make_record(1, listener, scene.inbounds[listener.name])
        xray = scene.simulated.xray
        await scene.create(record)
        xray.restart()
        current = held(await scene.client(record.email))
        await scene.write(Verb.UPDATE, replace(record, total_bytes=GIB, current=current))
        scene.simulated.clock.advance(60)
        await scene.look()
        lost = [email for _, email in xray.unserved()]
        restart = Write(scene.target, Verb.RESTART, ())
        outcome = await scene.panel.act(restart)

        cipher = listener.settings.get("method")
        assert ([record.email] if cipher in scene.features.drops_edited else []) == lost
        assert Verdict.APPLIED is outcome.verdict
        assert [] == xray.unserved()


@pytest.mark.parametrize("version", simulated(VERSIONS))
async def test_an_xray_that_does_not_start_is_a_refused_restart(version: str) -> None:
    options = PanelOptions(xray_state="error")
    async with stage(version, SS_32, options=options) as scene:
        await scene.look()

        outcome = await scene.panel.act(Write(scene.target, Verb.RESTART, ()))

        assert Verdict.REJECTED is outcome.verdict
        assert "no such file" in outcome.cause


@pytest.mark.quirk("null-status")
@pytest.mark.parametrize("version", simulated(NEW))
async def test_quirk_null_status(version: str) -> None:
    """A panel that has just started has not looked at itself yet: no error, no lost identity."""
    async with stage(version, VLESS) as scene:
        before = await scene.look()
        scene.simulated.restart()

        after = await scene.look()

        assert (before.version, before.inbounds) == (after.version, after.inbounds)
        assert (None, "unknown") == (after.guid, after.xray)


@pytest.mark.quirk("no-guid")
@pytest.mark.parametrize("version", params(NEW))
async def test_quirk_no_guid(version: str) -> None:
    async with stage(version) as scene:
        look = await scene.look()

        told = (await scene.hand.get("panel/api/server/status")).get("panelGuid")
        assert (told is not None) is (scene.number >= (3, 3, 0))
        assert told == look.guid


@pytest.mark.quirk("null-attachments")
@pytest.mark.parametrize("version", params(NEW))
async def test_quirk_null_attachments(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"])
        await scene.create(record)
        await scene.write(Verb.DETACH, record)

        client = await scene.client(record.email)

        assert client.raw["inboundIds"] is None
        assert () == client.inbound_ids


@pytest.mark.quirk("flow-of-the-last")
@pytest.mark.parametrize("version", params(versions("3.2.5")))
async def test_quirk_flow_of_the_last(version: str) -> None:
    """The flow of a client that is also where flows are blanked cannot be told, or is right."""
    async with stage(version, VLESS, VLESS_WS) as scene:
        flow, no_flow = scene.inbounds.values()
        both = make_record(1, VLESS, flow, no_flow)
        only = make_record(2, VLESS, flow)
        bare = make_record(3, VLESS, flow, flow="")
        await scene.create(both, only, bare)

        seen = {c.email: (c.flow, c.flow_known) for c in (await scene.look()).clients}

        assert (only.flow, True) == seen[only.email]
        assert ("", True) == seen[bare.email]
        assert seen[both.email] in [("", False), (both.flow, True)]


@pytest.mark.parametrize("version", params(versions("3.1.0", before="3.2.5")))
async def test_up_to_3_2_4_a_record_shows_the_one_flow_that_it_has(version: str) -> None:
    async with stage(version, VLESS, VLESS_WS) as scene:
        record = make_record(1, VLESS, *scene.inbounds.values())
        await scene.create(record)

        client = await scene.client(record.email)

        assert (record.flow, True) == (client.flow, client.flow_known)


@pytest.mark.quirk("equal-update-skipped")
@pytest.mark.parametrize("version", params(versions("3.5.0")))
async def test_quirk_equal_update_skipped(version: str) -> None:
    """A flow that another inbound left in the record is mended, though the entry has the right one."""
    async with stage(version, VLESS, VLESS_WS) as scene:
        flow, no_flow = scene.inbounds.values()
        record = make_record(1, VLESS, flow, no_flow)
        await scene.create(record)
        await scene.write(Verb.DETACH, replace(record, inbound_ids=(no_flow,)))
        stale = await scene.client(record.email)

        await scene.write(Verb.UPDATE, replace(record, inbound_ids=(flow,), current=held(stale)))
        client = await scene.client(record.email)

        assert ("", True) == (stale.flow, stale.flow_known)
        assert (record.flow, True) == (client.flow, client.flow_known)


@pytest.mark.quirk("bulk-attach-drops-flow")
@pytest.mark.parametrize("version", params(versions("3.2.5")))
async def test_quirk_bulk_attach_drops_flow(version: str) -> None:
    """Clients with a flow are attached one by one, and have it on the new inbound too."""
    second = replace(VLESS, name="second")
    async with stage(version, VLESS, VLESS_WS, second) as scene:
        flow, no_flow, new = scene.inbounds.values()
        records = [make_record(n, VLESS, flow, no_flow) for n in (1, 2)]
        await scene.create(*records)
        wanted = [(replace(record, inbound_ids=(new,)), 500) for record in records]

        writes = list(cut_writes(scene.target, Verb.ATTACH, wanted, scene.features))
        for write in writes:
            await scene.panel.act(write)

        entries = [await scene.hand.entry(new, record.email) for record in records]
        assert [1, 1] == [len(write.members) for write in writes]
        assert ["xtls-rprx-vision"] * 2 == [entry["flow"] for entry in entries]


@pytest.mark.quirk("hysteria-name")
async def test_quirk_hysteria_name() -> None:
    """An upgrade across 3.2.0 gives the inbound another protocol, and it is still the same one."""
    async with stage("3.1.0", HYSTERIA2) as scene:
        before = await scene.look()
        scene.simulated.upgrade("3.6.0")
        scene.simulated.state.inbounds[scene.inbounds["hysteria2"]].protocol = "hysteria"
        scene.simulated.touch()

        after = await scene.look()

        assert ["hysteria2"] == [inbound.protocol for inbound in before.inbounds]
        assert ["hysteria2"] == [inbound.protocol for inbound in after.inbounds]


@pytest.mark.quirk("slash-in-path")
@pytest.mark.parametrize("version", simulated(VERSIONS))
async def test_quirk_slash_in_path(version: str) -> None:
    """What no path can address is said, and nothing is sent; ours never holds a slash."""
    async with stage(version, TROJAN) as scene:
        inbound = scene.inbounds["trojan"]
        adopted = make_record(1, TROJAN, inbound, password="with/slash")
        if not scene.features.email_per_inbound:
            adopted = replace(adopted, email=Email("with/slash"))
        by_hand.add_client(
            scene.simulated,
            inbound,
            {"email": adopted.email, "password": adopted.password, "subId": "s"},
        )
        current = held(await scene.client(adopted.email))
        scene.forget()

        outcome = await scene.write(Verb.UPDATE, replace(adopted, current=current))

        assert Verdict.REJECTED is outcome.verdict
        assert "cannot be addressed" in outcome.cause
        assert [] == scene.requests()


@pytest.mark.parametrize("size", sorted(set(PASSWORD_BYTES.values())))
def test_derived_passwords_hold_no_slash(size: int) -> None:
    passwords = [derive_secrets(n.to_bytes(32, "big"), size).password for n in range(500)]

    assert not [password for password in passwords if "/" in password]
    assert 500 == len(set(passwords))


@pytest.mark.quirk("delete-says-success")
@pytest.mark.parametrize("version", params(OLD))
async def test_quirk_delete_says_success(version: str) -> None:
    async with stage(version, VMESS) as scene:
        inbound = scene.inbounds["vmess"]
        record = make_record(1, VMESS, inbound)
        await scene.create(record, make_record(2, VMESS, inbound))
        scene.forget()

        outcome = await scene.write(Verb.DELETE, make_record(7, VMESS, inbound))

        by_email = scene.features.deletes_by_email
        assert (Verdict.REJECTED if by_email else Verdict.APPLIED) is outcome.verdict
        assert [by_email] == ["delClientByEmail" in asked for asked in scene.requests()]


@pytest.mark.quirk("first-with-the-key")
@pytest.mark.parametrize("version", params(OLD))
@pytest.mark.parametrize("listener", [VMESS, TROJAN], ids=["vmess", "trojan"])
async def test_quirk_first_with_the_key(version: str, listener: Listener) -> None:
    """A foreign client that has our credential, put before ours, is neither changed nor deleted."""
    async with stage(version, listener) as scene:
        inbound = scene.inbounds[listener.name]
        record = make_record(1, listener, inbound)
        theirs = {
            "id": record.uuid,
            "password": record.password,
            "email": HAND,
            "subId": "x3f-hand",
        }
        await scene.hand.add_client(inbound, theirs)
        await scene.create(record)
        current = held(await scene.client(record.email))
        before = await scene.client(HAND)

        updated = await scene.write(Verb.UPDATE, replace(record, limit_ip=9, current=current))
        deleted = await scene.write(Verb.DELETE, replace(record, current=current))

        told = Verdict.APPLIED if scene.features.deletes_by_email else Verdict.REJECTED
        assert (Verdict.REJECTED, told) == (updated.verdict, deleted.verdict)
        assert before == await scene.client(HAND)


@pytest.mark.quirk("localised-messages")
@pytest.mark.parametrize("version", ["2.9.4", "3.0.2", "3.1.0", "3.6.0"])
async def test_quirk_localised_messages(version: str) -> None:
    """A hint is read from the error inside, whatever language stands around it."""
    async with stage(version, VLESS) as scene:
        await scene.create(*(make_record(n, VLESS, scene.inbounds["vless"]) for n in (1, 2)))
        fault = {"kind": "localised", "method": "POST", "count": None}
        scene.simulated.faults.arm(fault)

        outcome = await scene.write(Verb.DELETE, make_record(7, VLESS, scene.inbounds["vless"]))

        assert [MemberVerdict.ABSENT] == [member.verdict for member in outcome.members]


@pytest.mark.quirk("refused-yet-stored")
@pytest.mark.parametrize("version", params(NEW))
async def test_quirk_refused_yet_stored(version: str) -> None:
    async with stage(version, VLESS) as scene:
        record = make_record(1, VLESS, scene.inbounds["vless"], InboundId(999_999))

        outcome = await scene.write(Verb.CREATE, record)

        assert (Verdict.REJECTED, ()) == (outcome.verdict, outcome.members)
        assert (scene.inbounds["vless"],) == (await scene.client(record.email)).inbound_ids


@pytest.mark.quirk("group-is-skipped")
@pytest.mark.parametrize("version", params(versions("3.2.8")))
async def test_quirk_group_is_skipped(version: str) -> None:
    """The innocent is named with the reason of the guilty, and is created in a chunk of its own."""
    async with stage(version, VLESS, VMESS) as scene:
        vless, vmess = scene.inbounds.values()
        await scene.create(make_record(1, VLESS, vless))
        guilty = make_record(9, VLESS, vless, email=Email("X3F-KEY0000001-G1"))
        innocent, elsewhere = make_record(2, VLESS, vless), make_record(3, VMESS, vmess)

        outcome = await scene.write(Verb.CREATE, innocent, guilty, elsewhere)
        again = await scene.write(Verb.CREATE, innocent)

        named = {member.email: member for member in outcome.members}
        assert {innocent.email, guilty.email} == set(named)
        assert named[innocent.email].reason == named[guilty.email].reason
        assert {MemberVerdict.SKIPPED} == {member.verdict for member in outcome.members}
        assert Verdict.APPLIED is again.verdict


@pytest.mark.quirk("hybrid-family")
@pytest.mark.parametrize("version", params(versions("3.0.0", before="3.1.0")))
async def test_quirk_hybrid_family(version: str) -> None:
    """Sessions as in later versions, bearer tokens too; clients as before."""
    options = PanelOptions(token="t" * 48)
    async with stage(version, VLESS, options=options) as scene:
        outcome = await scene.create(make_record(1, VLESS, scene.inbounds["vless"]))

        assert Verdict.APPLIED is outcome.verdict
        assert Family.V30 is (await scene.look()).features.family
        assert ["POST /panel/api/inbounds/addClient"] == [
            asked for asked in scene.requests() if asked.startswith("POST")
        ]
