"""The main job as an operator does it: every command a process, every panel a real listener."""

import sqlite3

from desired_state.store.secrets import make_key
from simulator import by_hand
from tests.e2e.operator import BY_TOKEN, node, shape

ACTION = {
    "verb": "str", "email": "str", "key": "str", "generation": "int", "inbounds": ["int"],
    "reason": "str", "drift": "bool", "withheld": "bool",
}  # fmt: skip
CONDITION = {"type": "str", "reason": "str", "message": "str", "status": "bool", "since": "str"}
NODE_OF_A_RUN = {
    "node": "str", "state": "str", "error": "null", "mode": "str", "version": "str",
    "family": "str", "xray": "str", "rounds": "int", "created": "int", "deleted": "int",
    "updated": "int", "healed": "int", "verified": "int", "withheld": "int", "foreign": "int",
    "quarantined": "int", "writes": "int", "looks": "int", "duration_s": "float",
    "plan_digest": "str", "actions": [], "waiting": [], "inbounds": [], "refused": [], "blocked": [],
    "conditions": [CONDITION],
}  # fmt: skip
TOTALS = dict.fromkeys(
    ("created", "deleted", "updated", "healed", "verified", "withheld", "waiting", "writes",
     "looks"), "int",
)  # fmt: skip
RUN = {
    "in_sync": "bool", "rounds": "int", "duration_s": "float", "totals": TOTALS,
    "nodes": [NODE_OF_A_RUN], "placed": [], "ended": [], "unschedulable": [], "refused_moves": [],
}  # fmt: skip
PLACED = {"key": "str", "node": "str", "reason": "str", "replaces": "null"}


async def test_manifests_to_converged_panels_and_not_one_write_more(operator, start_panel) -> None:
    """Declared, issued, planned (2), reconciled (0), planned (0): and the panels agree."""
    old, new = await start_panel("2.9.4", inbounds=2), await start_panel("3.6.0", inbounds=2)
    fleet = operator.declare(node("old", old.url), node("new", new.url, auth=BY_TOKEN))

    valid = await operator.ask("manifests", "validate", str(fleet))
    made = await operator.ask("db", "upgrade")
    changes = await operator.ask("manifests", "diff", str(fleet), code=2)
    applied = await operator.ask("manifests", "apply", str(fleet))
    same = await operator.ask("manifests", "diff", str(fleet))
    issued = await operator.ask("keys", "issue", "--tariff", "all", "--count", "3")
    planned = await operator.ask("plan", code=2)
    before = (old.writes, new.writes)
    done = await operator.ask("reconcile", "now")
    after = (old.writes, new.writes)
    in_sync = await operator.ask("plan")
    again = await operator.ask("reconcile", "now")

    keys = sorted(key["key"] for key in issued["keys"])
    assert (True, 2, 1) == (valid["valid"], valid["nodes"], valid["tariffs"])
    assert {
        "database": "str", "before": "null", "after": "str", "installation": "str",
        "created": "bool",
    } == shape(made)  # fmt: skip
    assert ["create", "create", "create"] == [d["verb"] for d in changes["differences"]]
    assert (True, []) == (applied["applied"], same["differences"])
    assert (0, 0) == before
    assert all(writes > 0 for writes in after)
    assert sorted(f"x3f-{k}-g1-i{i}" for k in keys for i in (1, 2)) == old.emails
    assert sorted(f"x3f-{key}-g1" for key in keys for _ in (1, 2)) == new.emails
    assert {**RUN, "nodes": [{**NODE_OF_A_RUN, "actions": [ACTION]}], "placed": [PLACED]} == shape(
        planned
    )
    assert [False, True] == [planned["in_sync"], done["in_sync"]]
    assert [3, 6] == [node["created"] for node in done["nodes"]]
    assert {**RUN, "placed": [PLACED]} == shape(done)
    assert (True, True, 0) == (in_sync["in_sync"], again["in_sync"], again["totals"]["writes"])
    assert after == (old.writes, new.writes)


async def test_keys_are_rotated_moved_and_revoked(operator, start_panel) -> None:
    """Each change is wanted at once and done by the next run, the old client gone first."""
    a, b = await start_panel("3.2.8"), await start_panel("2.9.4")
    await operator.set_up(node("a", a.url), node("b", b.url))
    issued = await operator.ask("keys", "issue", "--tariff", "all", "--node", "a")
    key = issued["keys"][0]["key"]
    await operator.ask("reconcile", "now")

    rotated = await operator.ask("keys", "rotate", key)
    await operator.ask("reconcile", "now")
    after_rotation = a.emails
    moved = await operator.ask("keys", "move", key, "--to", "b")
    await operator.ask("reconcile", "now")
    after_move = (a.emails, b.emails)
    revoked = await operator.ask("keys", "revoke", key, "--reason", "refund")
    await operator.ask("reconcile", "now")

    # A panel up to 3.0.2 keeps a placeholder of ours where its last client would go.
    left = [email for email in b.emails if key in email]
    assert {
        "keys": [{"key": "str", "generation": "int", "wanted": "bool", "changed": "bool"}]
    } == shape(rotated)
    assert [f"x3f-{key}-g2"] == after_rotation
    assert ([], [f"x3f-{key}-g2-i1"]) == after_move
    assert [True, False] == [moved["keys"][0]["wanted"], revoked["keys"][0]["wanted"]]
    assert ([], []) == (a.emails, left)


async def test_damage_by_hand_is_healed_and_foreign_clients_are_left_alone(
    operator, start_panel
) -> None:
    panel = await start_panel("3.6.0")
    keys = await operator.set_up(node("a", panel.url), keys=2)
    await operator.ask("reconcile", "now")
    inbound = next(iter(panel.panel.state.inbounds))
    by_hand.delete_client(panel.panel, f"x3f-{keys[0]}-g1")
    by_hand.edit_client(panel.panel, f"x3f-{keys[1]}-g1", {"enable": False})
    by_hand.add_client(panel.panel, inbound, {"email": "stranger", "id": "7", "enable": True})

    drift = await operator.ask("plan", code=2)
    healed = await operator.ask("reconcile", "now")

    assert 2 == sum(action["drift"] for action in drift["nodes"][0]["actions"])
    assert (2, 1) == (healed["totals"]["healed"], healed["nodes"][0]["foreign"])
    assert ["stranger", *sorted(f"x3f-{key}-g1" for key in keys)] == panel.emails


async def test_lists_and_explanations_keep_their_shape(operator, start_panel) -> None:
    panel = await start_panel("3.6.0")
    [key] = await operator.set_up(node("a", panel.url), keys=1)
    before = await operator.ask("keys", "show", key)
    await operator.ask("reconcile", "now")

    keys = await operator.ask("keys", "list")
    nodes = await operator.ask("nodes", "list")
    shown = await operator.ask("nodes", "show", "a")
    explained = await operator.ask("keys", "show", key)
    probed = await operator.ask("nodes", "probe", "a")

    summary = {
        "node": "str", "state": "str", "reason": "str", "since": "str", "version": "str",
        "family": "str", "xray": "str", "mode": "str", "recovery": "null", "labels": {},
        "schedulable": "bool", "paused": "bool", "cordoned": "bool", "draining": "bool", "orphaned": "bool",
        "capacity": "null", "keys": "int", "leaving": "int", "live": "int", "pending": "int",
        "deleting": "int", "drift": "int", "foreign": "int", "quarantined": "int",
        "failures": "int", "next_try_at": "null", "certificate_until": "null",
        "conditions": [CONDITION],
    }  # fmt: skip
    assert {"nodes": [summary]} == shape(nodes)
    assert {
        **summary, "url": "str", "address": "str", "tls": "str",
        "auth": {"username": "str", "password": "str"}, "source": "str", "bound_at": "str",
        "guid": "str",
        "inbounds": [{
            "id": "int", "bound": "bool", "protocol": "str", "port": "int", "tag": "str",
            "remark": "str", "enable": "bool", "flow": "str",
        }],
        "declared_inbounds": [],
        "blocked": [], "requests": [], "debt": {"keys": "int", "since": "null"}, "progress": [],
        "events": [{
            "at": "str", "last_at": "str", "times": "int", "name": "str", "key": "str",
            "email": "str", "detail": "str",
        }],
    } == shape(shown | {"events": [e for e in shown["events"] if e["key"]]})  # fmt: skip
    assert {
        "keys": [{
            "key": "str", "generation": "int", "tariff": "str", "subscription": "str",
            "state": "str", "ended": "null", "valid_until": "str", "quota_bytes": "null",
            "used_bytes": "int", "left_bytes": "null", "pinned": "null",
            "nodes": ["str"], "leaving": [], "live": "int", "held": "int", "created_at": "str",
        }]
    } == shape(keys)  # fmt: skip
    steps = ["declared", "eligible", "placed", "journalled", "sent", "verified"]
    assert (steps[:2], "placed") == (before["nodes"][0]["done"], before["nodes"][0]["failed"])
    assert (steps, None) == (explained["nodes"][0]["done"], explained["nodes"][0]["failed"])
    assert NODE_OF_A_RUN | {"plan_digest": "null"} == shape(probed)


async def test_no_output_of_any_command_holds_a_credential(operator, start_panel) -> None:
    """Neither what customers hold nor what opens panels is ever printed."""
    panel = await start_panel("3.6.0", inbounds=2)
    [key] = await operator.set_up(node("a", panel.url), keys=1)
    texts = []
    for words in (
        ("plan", "--all"), ("reconcile", "now", "--log-level", "debug"), ("keys", "list"),
        ("keys", "show", key), ("nodes", "show", "a"), ("nodes", "probe", "a"), ("doctor",),
        ("config", "show"),
    ):  # fmt: skip
        for output in ("table", "json"):
            run = await operator.run(*words, "--output", output)
            texts.append(run.out + run.err)

    held = [
        value
        for inbound in panel.panel.state.inbounds.values()
        for entry in inbound.settings.clients
        for name, value in entry.data.items()
        if name in ("id", "password", "auth", "subId") and value
    ]
    secrets = [
        *held,
        *operator.settings["PANEL_PASSWORD"].split(),
        operator.settings["PANEL_TOKEN"],
    ]
    key_file = operator.database.with_name("x3fleet.db.key").read_text().strip()
    assert len(held) >= 4
    assert [] == [s for s in (*secrets, key_file) if any(s in text for text in texts)]


async def test_secrets_are_encrypted_anew_with_a_new_key(operator, start_panel) -> None:
    """With the new key alone everything can be read, and keys on panels do not change."""
    panel = await start_panel("3.6.0")
    await operator.set_up(node("a", panel.url), keys=1)
    await operator.ask("reconcile", "now")
    old = operator.database.with_name("x3fleet.db.key").read_text().strip()
    new = make_key()

    rotated = await operator.ask("secrets", "rotate", X3FLEET_ENCRYPTION_KEYS=f"{new},{old}")
    in_sync = await operator.ask("plan", X3FLEET_ENCRYPTION_KEYS=new)
    refused = await operator.run("plan", X3FLEET_ENCRYPTION_KEYS=old)

    assert rotated["seen"] == rotated["renewed"] > 1
    assert in_sync["in_sync"]
    assert 1 == refused.code
    assert "cannot be opened with the configured encryption keys" in refused.out


async def test_a_database_of_another_release_is_refused(operator) -> None:
    """Missing and outdated: run db upgrade. Newer: refused. Nothing is made by the way."""
    missing = await operator.run("nodes", "list")
    existed = operator.database.exists()
    await operator.ask("db", "upgrade")
    with sqlite3.connect(operator.database) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    newer = await operator.run("nodes", "list")
    upgrade = await operator.run("db", "upgrade", "--output", "json")

    assert (1, False) == (missing.code, existed)
    assert missing.err.startswith("x3fleet: there is no database at ")
    assert "run x3fleet db upgrade" in missing.err
    assert (1, 1) == (newer.code, upgrade.code)
    assert "9999" in newer.err
    assert "store_newer" == upgrade.document["error"]["code"]
