"""Nothing that is meant for one node reaches another: three panels, three paths, three credentials."""

from desired_state.model.ids import NodeName
from desired_state.model.policy import Policy
from simulator import by_hand
from tests.integration.runtime.fleet import Wanted, open_fleet

PANELS = {
    "a": Wanted("2.9.4", base_path="/first-path/", username="alice", password="password-of-a"),
    "b": Wanted("3.2.8", base_path="/second/path/", username="bob", password="password-of-b"),
    "c": Wanted("3.6.0", base_path="/", token="token-of-c-0123456789abcdef0123456789abcdef"),
}


async def test_nothing_meant_for_one_node_reaches_another(tmp_path, monkeypatch):
    seen = {name: [] for name in PANELS}
    roomy = Policy(max_delete_floor=10)
    async with open_fleet(tmp_path, monkeypatch, policies=(roomy,), **PANELS) as fleet:
        for name, site in fleet.sites.items():
            listen(site, seen[name], monkeypatch)
        issued = {name: await fleet.issue(3, name) for name in PANELS}
        await fleet.reconcile()
        for name in PANELS:
            await fleet.rotate(issued[name][0])
            await fleet.revoke(issued[name][1])

        report = await fleet.reconcile()

        assert report.in_sync
        for name, panel in PANELS.items():
            base = panel.base_path
            assert [] == [text for text in seen[name] if not text.startswith(base)]
            text = "\n".join(seen[name])
            for other, wanted in PANELS.items():
                keys = issued[other]
                secrets = [wanted.password, wanted.token or wanted.password, *keys]
                found = [secret for secret in secrets if secret in text]
                assert found == [] or other == name
                if other == name:
                    assert keys[2] in text


async def test_swapped_addresses_write_nothing_to_the_wrong_panel(tmp_path, monkeypatch):
    """Two 3.6.0 panels change places in the manifests: each has another GUID than the bound one."""
    both = {"a": Wanted("3.6.0"), "b": Wanted("3.6.0")}
    async with open_fleet(tmp_path, monkeypatch, **both) as fleet:
        await fleet.issue(2, "a")
        await fleet.issue(2, "b")
        await fleet.reconcile()
        before = [sorted(site.ours()) for site in fleet.sites.values()]
        addresses = fleet["a"].spec.url, fleet["b"].spec.url
        await fleet.declare("a", url="http://127.0.0.1:9/")
        await fleet.declare("b", url=addresses[0])
        await fleet.declare("a", url=addresses[1])
        await fleet.issue(1, "a")
        fleet.forget_requests()

        report = await fleet.reconcile()

        assert before == [sorted(site.ours()) for site in fleet.sites.values()]
        assert 0 == sum(site.writes() for site in fleet.sites.values())
        reasons = {
            node.node: [c.reason for c in node.conditions if c.type.value == "Stalled"]
            for node in report.nodes
        }
        assert {
            NodeName("a"): ["IdentityChanged"],
            NodeName("b"): ["IdentityChanged"],
        } == reasons


async def test_a_look_alike_without_our_mark_is_never_touched(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(1)
        await fleet.reconcile()
        client = {
            "email": "x3f-aaaaaaaaaa-g1",
            "id": "1c9b0a3e-0000-4000-8000-000000000001",
            "subId": "not-our-mark",
            "enable": True,
        }
        by_hand.add_client(fleet["one"].panel, 1, client)
        fleet.forget_requests()

        report = await fleet.reconcile()

        assert "x3f-aaaaaaaaaa-g1" in fleet["one"].clients()
        assert (0, 1) == (fleet["one"].writes(), report.nodes[0].status.counts.foreign)


def listen(site, texts, monkeypatch):
    """Keep everything that a panel is told: path, headers, body."""
    answer = site.panel.answer

    def heard(call):
        texts.append(f"{call.path} {call.query} {dict(call.headers)} {call.body!r}")
        return answer(call)

    monkeypatch.setattr(site.panel, "answer", heard)
