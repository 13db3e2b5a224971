"""A key's life through the service, on panels of every family."""

from tests.integration.runtime.fleet import Wanted, open_fleet


async def test_a_key_is_issued_placed_and_proved(tmp_path, monkeypatch):
    async with open_fleet(tmp_path, monkeypatch, old=Wanted("2.9.4"), new=Wanted("3.6.0")) as fleet:
        (first,) = await fleet.issue(node="old")
        (second,) = await fleet.issue(node="new")

        report = await fleet.reconcile()

        assert [f"x3f-{first}-g1-i1"] == list(fleet["old"].ours())
        assert [f"x3f-{second}-g1"] == list(fleet["new"].ours())
        assert report.in_sync
        assert 2 == report.totals["created"]
        fleet.forget_requests()
        again = await fleet.reconcile()
        assert (0, 2, 1) == (again.writes, again.totals["looks"], again.rounds)
        assert 0 == fleet["old"].writes() + fleet["new"].writes()
