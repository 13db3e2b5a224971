"""A 3x-ui panel in memory, as the core sees one: looks go out, writes come in.

Holds the state, what people and upgrades do to it, and the truth that a look does not show: who made
a client. The rules of writing stand in `panel_rules`. Callers: `world`, tests of the core. Not here:
HTTP, JSON, faults (`world` plays those), anything of the database.
"""

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace

from controller.core.effects import Outcome, Verb, Verdict, Write
from controller.core.features import Features, Version, features_of
from controller.core.observed import (
    Observation,
    ObservedClient,
    ObservedInbound,
    XrayState,
)
from desired_state.model.ids import InboundId, NodeName
from tests.fakes import panel_rules
from tests.fakes.inbounds import apply_inbound
from tests.fakes.xray import FakeXray, restarted, upgraded

GUIDS_SINCE: Version = (3, 3, 0)
KEEPS = 12
"""How many older looks a panel remembers, for stale answers."""

VLESS = ObservedInbound(
    id=InboundId(1), protocol="vless", port=20001, tag="in-1", network="tcp", security="reality"
)
TROJAN = ObservedInbound(
    id=InboundId(2), protocol="trojan", port=20002, tag="in-2", network="tcp", security="tls"
)
SS_2022 = ObservedInbound(
    id=InboundId(1), protocol="shadowsocks", port=20001, tag="in-1", network="tcp",
    method="2022-blake3-aes-256-gcm", password_bytes=32,
)  # fmt: skip
VMESS = ObservedInbound(id=InboundId(3), protocol="vmess", port=20003, tag="in-3", network="ws")


@dataclass(frozen=True, slots=True)
class Entry:
    """One client with what no look tells: whether x3fleet made it."""

    client: ObservedClient
    foreign: bool


@dataclass
class FakePanel:
    """A panel of one version.

    `entries` by a running number: up to 3.0.2 one per client and inbound, from 3.1.0 one per record.
    `doubled`: emails that were stored twice in a way that no look shows (3.1.0 to 3.4.2).
    `stubborn`: a bulk delete skips these. `undeletable`: every delete of them is refused. `rowless`:
    emails whose traffic row is lost.
    `created`, `deleted`: how often each email came into being and was removed by a write; `added`,
    `dropped`: the same of declared inbounds by name. `last_inbound`: highest id that was given to one.
    """

    node: NodeName
    version: Version
    inbounds: dict[InboundId, ObservedInbound]
    guid: str = "guid-1"
    xray: XrayState = XrayState.RUNNING
    entries: dict[int, Entry] = field(default_factory=dict)
    doubled: frozenset[str] = frozenset()
    stubborn: frozenset[str] = frozenset()
    undeletable: frozenset[str] = frozenset()
    rowless: frozenset[str] = frozenset()
    created: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    updated: Counter[str] = field(default_factory=Counter)
    added: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    last_inbound: int = 0
    own_inbounds: frozenset[InboundId] = frozenset()
    """That x3fleet made."""
    calls: int = 0
    """Writes that arrived."""
    process: FakeXray = FakeXray()
    restarts: int = 0
    """Of Xray, that were asked for."""
    next_number: int = 1
    _look: Observation | None = None
    _older: tuple[Observation, ...] = ()
    _backup: dict[int, Entry] | None = None
    _within_call: bool = False

    @classmethod
    def of(
        cls,
        version: Version,
        *inbounds: ObservedInbound,
        node: str = "nl-1",
        guid: str = "guid-1",
    ) -> "FakePanel":
        """Make an empty panel; one VLESS inbound unless others are given."""
        chosen = inbounds or (VLESS,)
        return cls(NodeName(node), version, {i.id: i for i in chosen}, guid=guid)

    def copy(self) -> "FakePanel":
        """Return a panel that goes its own way from here; entries are immutable and shared."""
        twin = copy(self)
        twin.inbounds, twin.entries = dict(self.inbounds), dict(self.entries)
        for name in ("created", "deleted", "updated", "added", "dropped"):
            counted = getattr(self, name)
            setattr(twin, name, counted.copy() if counted else Counter())
        return twin

    # -- what is seen ------------------------------------------------------------------------------

    @property
    def features(self) -> Features:
        """What this version can do."""
        return features_of(self.version)

    def look(self) -> Observation:
        """Return what an honest and complete look shows now."""
        if self._look is None:
            self._look = Observation(
                node=self.node,
                version=".".join(map(str, self.version)),
                features=self.features,
                inbounds=tuple(self.inbounds.values()),
                clients=tuple(entry.client for entry in self.entries.values()),
                guid=self.guid if self.version >= GUIDS_SINCE else None,
                xray=self.xray if self.version >= (3, 1, 0) else XrayState.UNKNOWN,
            )
        return self._look

    def older_look(self, steps: int) -> Observation:
        """Return the look of `steps` changes ago, or the oldest one remembered."""
        if not self._older:
            return self.look()
        return self._older[max(0, len(self._older) - steps)]

    @property
    def older_looks(self) -> tuple[Observation, ...]:
        """Every look that a stale answer may show, the oldest first."""
        return self._older

    def truth(self) -> frozenset[ObservedClient]:
        """Return all clients as a set, for comparing end states."""
        return frozenset(entry.client for entry in self.entries.values())

    def foreign(self) -> dict[int, ObservedClient]:
        """Return clients that x3fleet did not make, by their number."""
        return {n: entry.client for n, entry in self.entries.items() if entry.foreign}

    def ours(self) -> Iterator[ObservedClient]:
        """Go over the clients that x3fleet made."""
        return (entry.client for entry in self.entries.values() if not entry.foreign)

    # -- writes ------------------------------------------------------------------------------------

    def apply(self, write: Write) -> Outcome:
        """Do one call as this version does it, and answer as it answers."""
        self.calls += 1
        if write.verb is Verb.RESTART:
            self.restarts += 1
            self.process = restarted(self)
            return Outcome(Verdict.APPLIED, duration_s=0.01)
        before, entries = self.look(), dict(self.entries)
        self._within_call = True
        try:
            rules = panel_rules.apply if write.inbound is None else apply_inbound
            outcome = rules(self, write)
        finally:
            self._within_call = False
        self.process = self.process.told(self, entries)
        if self._look is None:
            self._older = (*self._older, before)[-KEEPS:]
        return replace(outcome, duration_s=0.01, sent_bytes=300 * len(write.members))

    def apply_half(self, write: Write) -> Outcome:
        """Store the first half of the members (of the inbounds, for a single one), then refuse."""
        members = write.members
        if len(members) > 1:
            part = members[: len(members) // 2]
        else:
            inbounds = members[0].inbound_ids
            part = (replace(members[0], inbound_ids=inbounds[: max(1, len(inbounds) // 2)]),)
        self.apply(replace(write, members=part))
        return Outcome(Verdict.REJECTED, cause="Something went wrong")

    # -- primitives for the rules and for people -----------------------------------------------------

    def put(self, client: ObservedClient, *, foreign: bool) -> int:
        """Store a new client; returns its number."""
        self._changing()
        number = self.next_number
        self.next_number += 1
        self.entries[number] = Entry(client, foreign)
        return number

    def swap(self, number: int, client: ObservedClient) -> None:
        """Replace a client, leaving who made it."""
        self._changing()
        self.entries[number] = Entry(client, self.entries[number].foreign)

    def drop(self, number: int) -> None:
        """Remove a client."""
        self._changing()
        self.doubled -= {self.entries[number].client.email}
        del self.entries[number]

    def numbers_of(self, email: str, inbound: InboundId | None = None) -> tuple[int, ...]:
        """Find clients by the exact spelling of their email, in one inbound or anywhere."""
        return tuple(
            number
            for number, entry in self.entries.items()
            if entry.client.email == email
            and (inbound is None or inbound in entry.client.inbound_ids)
        )

    def _changing(self) -> None:
        """Remember how it looked before a change; a whole call is one change."""
        if not self._within_call:
            self._older = (*self._older, self.look())[-KEEPS:]
        self._look = None

    # -- people on the panel -------------------------------------------------------------------------

    def add_by_hand(self, client: ObservedClient) -> int:
        """Put a client there that x3fleet did not make, whatever it looks like; a row counts it."""
        return self.put(replace(client, traffic_row=client.traffic_row or 1), foreign=True)

    def edit_by_hand(self, email: str, **changes: object) -> None:
        """Change fields of every client with this email."""
        for number in self.numbers_of(email):
            self.swap(number, replace(self.entries[number].client, **changes))  # type: ignore[arg-type]

    def lose_row(self, email: str) -> None:
        """Lose the row that counts a client, as a delete that was cut short does (up to 3.0.2)."""
        self.rowless |= {email}
        self.edit_by_hand(email, traffic_row=0)

    def delete_by_hand(self, email: str) -> None:
        """Remove every client with this email; not counted as a delete of ours."""
        for number in self.numbers_of(email):
            self.drop(number)

    def copy_by_hand(self, email: str) -> int:
        """Store the same client once more, as two hurried people do; counts as ours."""
        entry = self.entries[self.numbers_of(email)[0]]
        return self.put(entry.client, foreign=entry.foreign)

    def use(self, email: str, up_bytes: int, down_bytes: int) -> None:
        """Let traffic flow: counters move, nothing else."""
        for number in self.numbers_of(email):
            client = self.entries[number].client
            self.swap(
                number,
                replace(
                    client,
                    up_bytes=client.up_bytes + up_bytes,
                    down_bytes=client.down_bytes + down_bytes,
                ),
            )

    def next_inbound(self) -> InboundId:
        """Give out the next id of an inbound."""
        self.last_inbound = max(self.last_inbound, *self.inbounds, 0) + 1
        return InboundId(self.last_inbound)

    def set_inbound(self, inbound: ObservedInbound) -> None:
        """Add an inbound or replace the one with its id."""
        self._changing()
        self.inbounds[inbound.id] = inbound

    def remove_inbound(self, inbound: InboundId) -> None:
        """Delete an inbound with its clients (2.x), or detach them (3.1.0 on)."""
        self._changing()
        del self.inbounds[inbound]
        for number, entry in list(self.entries.items()):
            if inbound not in entry.client.inbound_ids:
                continue
            if self.features.email_per_inbound:
                del self.entries[number]
                continue
            rest = tuple(i for i in entry.client.inbound_ids if i != inbound)
            self.entries[number] = Entry(replace(entry.client, inbound_ids=rest), entry.foreign)

    def wipe(self) -> None:
        """Lose every client, as an empty database does; inbounds and GUID stay."""
        self._changing()
        self.entries = {}
        self.doubled = frozenset()

    def back_up(self) -> None:
        """Remember all clients."""
        self._backup = dict(self.entries)

    def restore(self) -> None:
        """Return to the clients of the last `back_up`; without one nothing happens."""
        if self._backup is not None:
            self._changing()
            self.entries = dict(self._backup)

    def set_guid(self, guid: str) -> None:
        """Become another panel, which knows no older lists of this one."""
        self._changing()
        self.guid = guid
        self._older = ()

    def upgrade(self, version: Version) -> None:
        """Become a newer version.

        QUIRK V21: across 3.1.0 every disabled client is switched on, and each entry of an inbound
        becomes a record of its own. A new process knows no older lists.
        """
        self._changing()
        crossing = self.version < (3, 1, 0) <= version
        self.version = version
        self._older = ()
        off = [entry for entry in self.entries.values() if crossing and not entry.client.enable]
        if crossing:
            for number, entry in self.entries.items():
                self.entries[number] = Entry(replace(entry.client, enable=True), entry.foreign)
        self.process = upgraded(self, off)
