"""Which clients a panel's running Xray does not serve, although the panel shows them enabled.

Told of every call by `FakePanel`. Written from what running panels were seen to do: a client that they
hand to Xray in the wrong form is refused there, and they restart Xray for it only when what they would
start it with has changed. Not here: the rules of writing (`panel_rules`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from desired_state.model.ids import InboundId

if TYPE_CHECKING:
    from tests.fakes.panel import Entry, FakePanel

Place = tuple[InboundId, str]


@dataclass(frozen=True, slots=True)
class FakeXray:
    """A running Xray. `started_with`: what it read at its start; `lost`: whom it does not serve.

    `revived`: who came alive by an upgrade; a panel cannot take them out of it any more.
    """

    started_with: frozenset[tuple[object, ...]] = frozenset()
    lost: frozenset[Place] = frozenset()
    revived: frozenset[Place] = frozenset()

    def told(self, panel: FakePanel, before: dict[int, Entry]) -> FakeXray:
        """Return it after a call that may have changed clients."""
        served = {place for n in panel.entries for place in _places(panel, panel.entries[n])}
        lost = self.lost & served
        refused = frozenset(
            (inbound, email)
            for number, entry in panel.entries.items()
            if entry is not before.get(number)
            for inbound, email in _places(panel, entry)
            if _drops(panel, inbound) and not _was_left_alone(before.get(number), entry, inbound)
        )
        if refused and self.started_with != _config(panel):
            return restarted(panel)
        return FakeXray(self.started_with, lost | refused, self.revived)

    def wrong(self, panel: FakePanel) -> frozenset[Place]:
        """Return whom it does not serve, and whom it serves although the panel shows them off or gone."""
        served = {place for n in panel.entries for place in _places(panel, panel.entries[n])}
        return self.lost | (self.revived - served)


def restarted(panel: FakePanel) -> FakeXray:
    """Return an Xray that has just read everything."""
    return FakeXray(_config(panel))


def upgraded(panel: FakePanel, off: list[Entry]) -> FakeXray:
    """Return one that was started by an upgrade, with what that switched on."""
    revived = {(i, entry.client.email) for entry in off for i in entry.client.inbound_ids}
    return FakeXray(_config(panel), revived=frozenset(revived))


def _was_left_alone(old: Entry | None, new: Entry, inbound: InboundId) -> bool:
    """An attach tells Xray nothing of the inbounds where the client was before."""
    if old is None or old.client.inbound_ids == new.client.inbound_ids:
        return False
    return inbound in old.client.inbound_ids


def _places(panel: FakePanel, entry: Entry) -> list[Place]:
    if not entry.client.enable:
        return []
    return [(i, entry.client.email) for i in entry.client.inbound_ids if i in panel.inbounds]


def _drops(panel: FakePanel, inbound: InboundId) -> bool:
    there = panel.inbounds[inbound]
    return there.protocol == "shadowsocks" and there.method in panel.features.drops_edited


def _config(panel: FakePanel) -> frozenset[tuple[object, ...]]:
    return frozenset(
        (inbound, email, entry.client.uuid, entry.client.password, entry.client.auth)
        for entry in panel.entries.values()
        for inbound, email in _places(panel, entry)
    )
