"""One wanted client against one seen client, field by field, over the fields that we manage.

Step: inside the plan, once for each email. Callers: plan. Not here: which call mends a difference.

What is not drift: counters, row ids, order, notes, extra attachments that we never bound, a limit of
devices that reads 0 (panels without fail2ban reset it), a client that the panel itself switched off on
its own expiry or quota, and a flow where the inbound cannot carry one.
"""

from dataclasses import dataclass
from datetime import datetime

from controller.core.expect import Wanted, project
from controller.core.observed import ObservedClient
from desired_state.model.credentials import digest_secret
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import InboundId


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs. `fields`: names of managed fields, sorted. `attach`, `detach`: inbound ids.

    `only_enable`: nothing but the switch, which newer panels change for many clients in one call.
    """

    fields: tuple[str, ...]
    attach: tuple[InboundId, ...] = ()
    detach: tuple[InboundId, ...] = ()

    @property
    def only_enable(self) -> bool:
        """Whether the switch alone differs."""
        return self.fields == ("enable",)

    def __bool__(self) -> bool:
        return bool(self.fields or self.attach or self.detach)


def is_proved(wanted: Wanted, row: JournalRow) -> bool:
    """Tell whether an earlier look proved a client to be as it is wanted now."""
    return (
        row.projection == wanted.projection
        and row.state is JournalState.LIVE
        and row.create_unknown_at is None
        and not row.delete_attempts
    )


def credentials_of(row: JournalRow, client: ObservedClient) -> int:
    """Hash what a client logs in with and what its row expects: the same while both are the same.

    64 bits that are keyed anew in every process: to be remembered, never stored.
    """
    return hash((client.uuid, client.password, client.auth, row.secrets_digest))


def is_settled(
    wanted: Wanted, row: JournalRow, client: ObservedClient, *, as_compared: bool = False
) -> bool:
    """Tell at once that a client is ours, proved before, and differs in nothing.

    What a converged node shows 500 times a look. False says nothing: the careful way tells.

    Args:
        wanted: how it should be.
        row: its row of the journal.
        client: as the look shows it.
        as_compared: its credentials are those that were found equal before (`credentials_of`).
    """
    shape = wanted.shape
    return (
        client.inbound_ids == shape.inbound_ids
        and client.sub_id == row.sub_id != ""
        and client.enable == wanted.enable
        and client.expiry_ms == wanted.expiry_ms
        and client.total_bytes == wanted.total_bytes
        and client.limit_ip == wanted.limit_ip
        and (not shape.compares_flow or not client.flow_known or client.flow == shape.flow)
        and not client.reset
        and (not client.tg_id or wanted.adopted is not None)
        and is_proved(wanted, row)
        and (as_compared or not _secrets_differ(wanted, row, client))
    )


def diff_client(
    wanted: Wanted, row: JournalRow | None, client: ObservedClient, now: datetime
) -> Difference:
    """Compare one client; falsy when it is as it should be.

    `row` None, or one without recorded credentials: they count as different, so that an update writes
    those that we know.
    """
    attach, detach = _attachments(wanted, row, client)
    fields: tuple[str, ...] = ()
    if not _is_equal(wanted, row, client):
        fields = tuple(sorted(_fields(wanted, row, client, now)))
    return Difference(fields, attach, detach)


def _is_equal(wanted: Wanted, row: JournalRow | None, client: ObservedClient) -> bool:
    """Answer the common case with three comparisons of strings."""
    shape = wanted.shape
    tail = wanted.projection.rpartition("|")[2]
    flow = client.flow if client.flow_known else shape.flow
    flow = flow if shape.compares_flow else ""
    seen = project(client.enable, client.expiry_ms, client.total_bytes, client.limit_ip, flow, tail)
    return (
        seen == wanted.projection
        and row is not None
        and client.sub_id == row.sub_id
        and not client.reset
        and (wanted.adopted is not None or not client.tg_id)
        and not _secrets_differ(wanted, row, client)
    )


def _fields(
    wanted: Wanted, row: JournalRow | None, client: ObservedClient, now: datetime
) -> list[str]:
    found = []
    if client.expiry_ms != wanted.expiry_ms:
        found.append("expiry")
    if client.total_bytes != wanted.total_bytes:
        found.append("quota")
    if client.limit_ip not in (0, wanted.limit_ip):
        found.append("devices")
    compares_flow = wanted.shape.compares_flow and client.flow_known
    if compares_flow and client.flow != wanted.shape.flow:
        found.append("flow")
    if client.reset:
        found.append("reset")
    if client.tg_id and wanted.adopted is None:
        found.append("tg_id")
    if row is None or client.sub_id != row.sub_id:
        found.append("sub_id")
    if row is None or _secrets_differ(wanted, row, client):
        found.append("credentials")
    # The switch last: a limit that is rewritten explains why the panel had switched it off.
    if client.enable != wanted.enable and not (
        wanted.enable and not found and is_switched_off_by_panel(client, now)
    ):
        found.append("enable")
    return found


def is_switched_off_by_panel(client: ObservedClient, now: datetime) -> bool:
    """Tell whether its own expiry or quota explains that a client is off."""
    expired = 0 < client.expiry_ms <= now.timestamp() * 1000
    used = client.up_bytes + client.down_bytes
    return not client.enable and (expired or 0 < client.total_bytes <= used)


def _secrets_differ(wanted: Wanted, row: JournalRow, client: ObservedClient) -> bool:
    uuid, _, rest = row.secrets_digest.partition(".")
    password, _, auth = rest.partition(".")
    shape = wanted.shape
    return (
        (shape.needs_uuid and digest_secret(client.uuid) != uuid)
        or (shape.needs_password and digest_secret(client.password) != password)
        or (shape.needs_auth and digest_secret(client.auth) != auth)
    )


def _attachments(
    wanted: Wanted, row: JournalRow | None, client: ObservedClient
) -> tuple[tuple[InboundId, ...], tuple[InboundId, ...]]:
    shape = wanted.shape
    if shape.inbound_ids == client.inbound_ids:
        return (), ()
    held = set(client.inbound_ids)
    ours = set(row.inbound_ids) if row is not None else set()
    bound = {*shape.inbound_ids, *shape.refused}
    return (
        tuple(sorted(shape.usable_ids - held)),
        tuple(sorted((ours & held) - bound)),
    )
