"""Drawing the plan: one pass over wanted, journalled and seen clients (the table stands in `plan`).

Step: `make_plan`. Callers: reconcile, the dry run. Not here: values (`plan`), guards, slices.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from controller.core import memo
from controller.core.adopted import taken_over
from controller.core.binding import survey_inbounds
from controller.core.desired import Desired
from controller.core.diff import Difference, credentials_of, diff_client, is_proved, is_settled
from controller.core.effects import Taken, Verb
from controller.core.expect import Wanted
from controller.core.memo import Wants
from controller.core.observed import Observation, ObservedClient
from controller.core.ownership import is_ours_by_row, read_mark
from controller.core.placeholder import add_placeholders, is_placeholder
from controller.core.plan import Action, Plan, Waiting, delete_of
from controller.core.rows import row_as_wanted, row_of_marked
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email, Generation, InboundId, KeyId
from desired_state.model.ownership import EmailParts
from desired_state.model.placement import DeleteReason


def make_plan(desired: Desired, look: Observation, now: datetime) -> Plan:
    """Compare what is wanted with what is there.

    Units: `now` is aware UTC. The result depends on nothing but the arguments, and not on their order.
    """
    return _Drawing(desired, look, now).draw()


class _Drawing:
    """The state of one pass; made, drawn once, thrown away."""

    def __init__(self, desired: Desired, look: Observation, now: datetime) -> None:
        self.desired = desired
        self.look = look
        self.now = now
        self.survey = survey_inbounds(desired, look.inbounds)
        self.memo = memo.memo_of(desired)
        self.seen = memo.index_clients(look.clients)
        self.keys = {key.key: key for key in desired.keys}
        index = memo.index_rows(desired)
        self.rows, self.older = index.by_email, index.older
        self.actions: list[Action] = []
        self.learned: list[JournalRow] = []
        self.waiting: list[Waiting] = []
        self.foreign: list[str] = []
        self.quarantined: list[str] = []
        self.taken: list[Email] = []
        self.lapsed: list[JournalRow] = []
        self.newer: list[str] = []
        self.unknown: set[KeyId] = set()
        self.missing: list[Email] = []
        self.kept = self.live = self.served = self.owned_seen = 0
        self.mark_seen = False
        self.adopted = frozenset(client.email.lower() for client in desired.adopted)
        self.taken_over: tuple[Taken, ...] = ()

    def draw(self) -> Plan:
        """Walk the table: strangers first, since they may turn out to be rows that we lost."""
        self._take_over()
        self._meet_unjournalled()
        wants = self._want()
        wanted, self.reasons = wants.by_email, wants.reasons
        self._skip_equal(wants)
        for email in self.unequal:
            self._compare_wanted(email, wanted[email])
        for email, row in self.rows.items():
            if email not in wanted:
                self._end(email, row)
        actions = add_placeholders(self.desired, self.look, self.actions)
        return Plan(
            actions=tuple(sorted(actions, key=lambda action: action.sort_key)),
            taken_over=self.taken_over,
            learned=tuple(sorted(self.learned, key=lambda row: row.email)),
            waiting=tuple(sorted(self.waiting, key=lambda w: w.email)),
            foreign=tuple(sorted(self.foreign)),
            quarantined=tuple(sorted(self.quarantined)),
            taken=tuple(sorted(self.taken)),
            lapsed=tuple(sorted(self.lapsed, key=lambda row: row.email)),
            newer=tuple(sorted(self.newer)),
            unknown_keys=tuple(sorted(self.unknown)),
            missing=tuple(sorted(self.missing)),
            survey=self.survey,
            kept=self.kept,
            owned=sum(1 for row in self.rows.values() if row.key is not None),
            owned_seen=self.owned_seen,
            mark_seen=self.mark_seen,
            wanted_keys=sum(k.placed and k.leaving is None for k in self.desired.keys),
            live=self.live,
            unserved=sum(want.enable for want in wanted.values()) - self.served,
            refused=wants.refused,
        )

    def _skip_equal(self, wants: Wants) -> None:
        """Pass over clients that were proved as wanted before and still are: most of them, mostly."""
        self.unequal: list[str] = []
        rows, seen, compared = self.rows, self.seen, wants.compared
        for at, (email, want) in enumerate(wants.by_email.items()):
            row, clients = rows.get(email), seen.get(email, ())
            if row is None or len(clients) != 1:
                self.unequal.append(email)
                continue
            credentials = credentials_of(row, clients[0])
            if not is_settled(want, row, clients[0], as_compared=compared[at] == credentials):
                self.unequal.append(email)
                continue
            compared[at] = credentials
            self.live += 1
            self.served += want.enable
            self.kept += want.enable
        self.owned_seen += self.live
        if self.live and not self.mark_seen:
            self.mark_seen = any(self._speaks_for_us(c) for c in self.look.clients)

    def _speaks_for_us(self, client: ObservedClient) -> bool:
        """Tell whether a client of our rows proves whose panel this is: by its mark, or as adopted."""
        return client.email.lower() in self.adopted or self._mark(client) is not None

    def _take_over(self) -> None:
        """Adopted clients first: they are ours from the look that shows them on."""
        if not self.desired.adopted:
            return
        self.taken_over = taken_over(self.desired, self.keys, self.rows, self.seen)
        if self.taken_over:
            fresh = {taken.row.email.lower(): taken.row for taken in self.taken_over}
            self.rows = {**self.rows, **fresh}

    # -- what is seen and not journalled -----------------------------------------------------------

    def _meet_unjournalled(self) -> None:
        tombstones = memo.index_tombstones(self.desired)
        for email, clients in self.seen.items():
            if email in self.rows:
                continue
            marks = [(c, self._mark(c)) for c in clients]
            marked = [(c, parts) for c, parts in marks if parts is not None]
            self.foreign += [c.email for c, parts in marks if parts is None]
            if marked and len(marked) == len(clients):
                self._meet_marked(marked[0][0], marked[0][1], tombstones.get(email))

    def _mark(self, client: ObservedClient) -> EmailParts | None:
        return read_mark(client, self.desired.ownership)

    def _meet_marked(
        self, client: ObservedClient, parts: EmailParts, tombstone: JournalRow | None
    ) -> None:
        """A client that carries our mark and no row: a key's, a tombstone's, or nobody's we know."""
        self.mark_seen = True
        current = self._generation(parts.key)
        if current is None and tombstone is None:
            self.unknown.add(parts.key)
            self.quarantined.append(client.email)
        elif current is not None and parts.generation > current:
            self.newer.append(client.email)
        elif tombstone is None and self._has_no_reason(parts):
            self.quarantined.append(client.email)
        else:
            row = row_of_marked(self.desired.node, client, parts, tombstone)
            self.rows = {**self.rows, client.email.lower(): row}
            self.learned.append(row)

    def _generation(self, key: KeyId) -> Generation | None:
        held = self.keys.get(key)
        return held.generation if held is not None else self.desired.generations.get(key)

    def _has_no_reason(self, parts: EmailParts) -> bool:
        """A key that we know, of the present generation, that nothing places here and nothing ends."""
        key = self.keys.get(parts.key)
        if parts.generation != self._generation(parts.key):
            return False
        return key is None or (not key.placed and key.leaving is None)

    # -- what is wanted ----------------------------------------------------------------------------

    def _want(self) -> Wants:
        found = bool(self.learned or self.taken_over)
        if found:  # Rows that we had lost may change how their keys are served.
            self.older = memo.older_keys(self.desired, self.rows)
        wants = self.memo.wants
        if (
            wants is None
            or found
            or not wants.hold(self.desired, self.survey, self.look.features, self.now)
        ):
            wants = memo.derive_wants(
                self.desired, self.survey, self.look.features, self.rows, self.now
            )
            self.memo.wants = None if found else wants
        return wants

    def _compare_wanted(self, email: str, want: Wanted) -> None:
        row = self.rows.get(email)
        clients = self.seen.get(email, ())
        if row is None:
            if clients:
                self.taken.append(want.email)
            else:
                self._create(want, None)
            return
        if row.state is JournalState.LIVE and want.enable:
            self.kept += 1
        if not clients:
            self._miss(want, row)
        elif not all(is_ours_by_row(c, row) or self._mark(c) for c in clients):
            self.taken.append(want.email)
            self._doubt(row)
        elif len(clients) > 1 or self._is_astray(want, clients[0]):
            self._meet_twins(want, row, clients)
        else:
            self._compare(want, row, clients[0])

    def _is_astray(self, want: Wanted, client: ObservedClient) -> bool:
        """Up to 3.0.2 an entry lives in one inbound: in another one it is not the wanted client."""
        return self.look.features.email_per_inbound and client.inbound_ids != want.shape.inbound_ids

    def _meet_twins(self, want: Wanted, row: JournalRow, clients: list[ObservedClient]) -> None:
        self.owned_seen += 1
        self._note_mark(clients[0])
        for client in clients:
            self.actions.append(delete_of(row, client, DeleteReason.SUPERSEDED))
        self.waiting.append(Waiting(want.email, "its twins are deleted first"))

    def _miss(self, want: Wanted, row: JournalRow) -> None:
        """Wanted and journalled, not seen: deleted by hand, not stored, or a stale list."""
        self._doubt(row)
        if not want.shape.usable_ids:
            return  # An inbound that is off or gone unplaces nothing and creates nothing.
        if not want.enable:
            return  # A client that is off anyway is created when it is on again.
        is_live = row.state is JournalState.LIVE
        if is_live:
            self.missing.append(want.email)
        never_sent = not is_live and row.create_unknown_at is None
        if never_sent or not self.look.features.readd_doubles:
            self._create(want, row)
        elif self._may_be_on_its_way(row):
            self.waiting.append(Waiting(want.email, "its create may still be on its way"))
        else:
            clearing = delete_of(row, None, DeleteReason.SUPERSEDED, recreates=True, drift=is_live)
            self.actions.append(clearing)

    def _doubt(self, row: JournalRow) -> None:
        """Take back that a look verified it: whoever asks after the key is told so."""
        if row.state is JournalState.LIVE and row.projection:
            self.learned.append(replace(row, projection=""))

    def _may_be_on_its_way(self, row: JournalRow) -> bool:
        wait = timedelta(seconds=self.desired.policy.unknown_create_wait_s)
        return row.create_unknown_at is not None and self.now < row.create_unknown_at + wait

    def _create(self, want: Wanted, row: JournalRow | None) -> None:
        if not want.enable or not want.shape.usable_ids:
            return
        if want.key in self.older:
            self.waiting.append(Waiting(want.email, "an older generation is not finalised"))
        elif row is None and want.held_by is not None:
            why = f"its placement on {want.held_by} is not finalised"
            self.waiting.append(Waiting(want.email, why))
        else:
            self._act(
                Verb.CREATE, want, row, None,
                inbound_ids=tuple(sorted(want.shape.usable_ids)),
                reason="new" if row is None else "missing",
                drift=row is not None and row.state is JournalState.LIVE,
            )  # fmt: skip

    # -- what is there -----------------------------------------------------------------------------

    def _note_mark(self, client: ObservedClient) -> None:
        # The identity guard asks only whether there is any; an HMAC for each client would be dear.
        self.mark_seen = self.mark_seen or self._speaks_for_us(client)

    def _compare(self, want: Wanted, row: JournalRow, client: ObservedClient) -> None:
        self.owned_seen += 1
        self._note_mark(client)
        found = diff_client(want, row, client, self.now)
        if not found:
            self._is_as_wanted(want, row, client)
            return
        # Rows and records that the look shows are known to exist, whatever else is wrong with them.
        if row.state is JournalState.INTENDED or row.create_unknown_at is not None:
            row = replace(row, state=JournalState.LIVE, create_unknown_at=None)
            self.learned.append(row)
        self._mend(want, row, client, found)

    def _mend(
        self, want: Wanted, row: JournalRow, client: ObservedClient, found: Difference
    ) -> None:
        drift = row.projection == want.projection
        if found.fields:
            verb = Verb.UPDATE
            if found.only_enable:
                verb = Verb.ENABLE if want.enable else Verb.DISABLE
            self._act(
                verb, want, row, client,
                inbound_ids=client.inbound_ids, reason=",".join(found.fields), drift=drift,
            )  # fmt: skip
        if found.attach:
            self._act(
                Verb.ATTACH, want, row, client,
                inbound_ids=found.attach, reason="attach", drift=drift,
            )  # fmt: skip
        if found.detach:
            self._act(
                Verb.DETACH, want, row, client,
                inbound_ids=found.detach, reason=DeleteReason.UNMATCHED.value,
            )  # fmt: skip

    def _is_as_wanted(self, want: Wanted, row: JournalRow, client: ObservedClient) -> None:
        self.live += 1
        self.served += want.enable
        if not is_proved(want, row):
            self.learned.append(row_as_wanted(row, want, client))

    def _act(
        self, verb: Verb, want: Wanted, row: JournalRow | None, client: ObservedClient | None,
        *, inbound_ids: tuple[InboundId, ...], reason: str, drift: bool = False,
    ) -> None:  # fmt: skip
        email = want.email if client is None else Email(client.email)
        self.actions.append(
            Action(
                verb, email, want.key, want.generation, inbound_ids, reason,
                row=row, wanted=want, current=client, drift=drift,
            )
        )  # fmt: skip

    # -- what is to go -----------------------------------------------------------------------------

    def _end(self, email: str, row: JournalRow) -> None:
        """A row that nothing wants: delete it for its reason, seen or not; without one, leave it."""
        clients = [c for c in self.seen.get(email, []) if is_ours_by_row(c, row) or self._mark(c)]
        if len(clients) != len(self.seen.get(email, [])):
            self.taken.append(row.email)
            reason = None if clients or self._may_be_on_its_way(row) else self._reason(row)
            if reason is not None:
                self.lapsed.append(replace(row, delete_reason=reason))
            return
        if clients:
            self.owned_seen += 1
            self._note_mark(clients[0])
        if is_placeholder(row):
            self._keep_placeholder(row, clients)
            return
        reason = self._reason(row)
        if reason is None:
            self._leave_alone(row, clients)
        elif clients:
            if row.state is JournalState.INTENDED:
                row = replace(row, state=JournalState.LIVE, create_unknown_at=None)
                self.learned.append(row)
            for client in clients:
                self.actions.append(delete_of(row, client, reason))
        elif self._may_be_on_its_way(row):
            self.waiting.append(Waiting(row.email, "its create may still be on its way"))
        else:
            self.actions.append(delete_of(row, None, reason))

    def _keep_placeholder(self, row: JournalRow, clients: list[ObservedClient]) -> None:
        if clients and (row.state is JournalState.INTENDED or row.create_unknown_at is not None):
            self.learned.append(replace(row, state=JournalState.LIVE, create_unknown_at=None))

    def _leave_alone(self, row: JournalRow, clients: list[ObservedClient]) -> None:
        current = self._generation(row.key) if row.key is not None else None
        if current is not None and row.generation > current:
            self.newer.append(row.email)
        elif clients:
            self.quarantined.append(row.email)

    def _reason(self, row: JournalRow) -> DeleteReason | None:
        key = self.keys.get(row.key) if row.key is not None else None
        if key is None or row.generation != key.generation:
            return self._reason_of_generation(row)
        bound = {b.id for b in self.survey.bound}
        is_unbound = self.desired.bound is not None and not bound & set(row.inbound_ids)
        reason = self.reasons.get(key.key)
        if reason is None and key.placed and is_unbound:
            return DeleteReason.UNMATCHED
        return reason or row.delete_reason

    def _reason_of_generation(self, row: JournalRow) -> DeleteReason | None:
        """An older generation than the key's, or a delete that was begun: nothing else speaks."""
        current = self._generation(row.key) if row.key is not None else None
        if current is not None and row.generation != current:
            return DeleteReason.ROTATED if row.generation < current else None
        return row.delete_reason
