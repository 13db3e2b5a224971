"""Bulk changes of limits and flags: bulkAdjust (3.1.0+), bulkEnable and bulkDisable (3.4.1+).

Callers: `app` collects `ROUTES`. Not here: bulk create and delete (`v3_bulk`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.clients import number_of
from simulator.gojson import Doc
from simulator.inbound_view import can_carry_flow
from simulator.state import InboundRow, Record
from simulator.v3_bulk import as_skipped, by_inbound, read_emails, split_known, with_skipped
from simulator.v3_records import sync_inbound
from simulator.wire import Call, Reply, Route, obj, refuse

if TYPE_CHECKING:
    from simulator.app import Panel

_DAY_MS = 86_400_000
_FLOWS = frozenset({"none", "xtls-rprx-vision", "xtls-rprx-vision-udp443"})


@dataclass
class _Plan:
    """New limits of one client; None where nothing changes."""

    expiry_ms: int | None = None
    total: int | None = None


def _adjust(call: Call) -> Reply:
    body = call.object()
    emails = read_emails(call)
    days, size = (number_of(body, name) for name in ("addDays", "addBytes"))
    flow = str(body.get("flow") or "").strip() if call.version >= (3, 4, 1) else ""
    flow = flow if flow in _FLOWS else ""
    if not emails:
        return obj({"adjusted": 0})
    if not days and not size and not flow:
        raise refuse("no adjustment specified")
    panel = call.panel
    records, reasons = split_known(panel, emails)
    plans: dict[str, _Plan] = {}
    for email, record in records.items():
        plan = _Plan()
        _plan_expiry(record, days, plan, reasons)
        _plan_total(record, size, plan, reasons)
        if plan.expiry_ms is not None or plan.total is not None or flow:
            plans[email] = plan
    wanted = {email: records[email] for email in plans}
    carried, refused = _adjust_inbounds(panel, wanted, plans, flow)
    adjusted = _adjust_rows(panel, plans, carried)
    for email in refused - carried:
        reasons.setdefault(email, "flow not supported on inbound")
    return with_skipped({"adjusted": adjusted}, as_skipped(reasons))


def _plan_expiry(record: Record, days: int, plan: _Plan, reasons: dict[str, str]) -> None:
    expiry, change = record.fields["expiryTime"], days * _DAY_MS
    if not days or not isinstance(expiry, int):
        return
    if expiry == 0:
        reasons.setdefault(record.email, "unlimited expiry")
        return
    # A duration that starts with first use is stored negative: more days, smaller number.
    then = expiry + change if expiry > 0 else expiry - change
    if (then > 0) == (expiry > 0) and then != 0:
        plan.expiry_ms = then
        return
    window = "remaining time" if expiry > 0 else "delay window"
    reasons.setdefault(record.email, f"reduction exceeds {window}")


def _plan_total(record: Record, size: int, plan: _Plan, reasons: dict[str, str]) -> None:
    total = record.fields["totalGB"]
    if not size or not isinstance(total, int):
        return
    if total == 0:
        reasons.setdefault(record.email, "unlimited traffic")
    elif total + size <= 0:
        reasons.setdefault(record.email, "reduction exceeds remaining quota")
    else:
        plan.total = total + size


def _adjust_inbounds(
    panel: "Panel", records: dict[str, Record], plans: dict[str, _Plan], flow: str
) -> tuple[set[str], set[str]]:
    """Write the plans into all inbounds; tell whose flow was set and whose could not be."""
    carried: set[str] = set()
    refused: set[str] = set()
    now = panel.clock.seconds_ms()
    for inbound, attached in by_inbound(panel, records):
        fits = flow == "none" or can_carry_flow(inbound, xhttp=True)
        for record in attached:
            entry = inbound.settings.find(record.email)
            if entry is None:
                continue
            plan, values = plans[record.email], Doc()
            if plan.expiry_ms is not None:
                values["expiryTime"] = plan.expiry_ms
            if plan.total is not None:
                values["totalGB"] = plan.total
            if flow and fits:
                values["flow"] = "" if flow == "none" else flow
            if flow:
                (carried if fits else refused).add(record.email)
            inbound.settings.change(entry, **values, updated_at=now)
        sync_inbound(panel, inbound)
    return carried, refused


def _adjust_rows(panel: "Panel", plans: dict[str, _Plan], carried: set[str]) -> int:
    now = panel.clock.now_ms()
    adjusted, revived = 0, []
    for email, plan in plans.items():
        changes = plan.expiry_ms is not None or plan.total is not None
        adjusted += changes or email in carried
        row = panel.state.traffic.get(email)
        if row is None or not changes:
            continue
        was_spent = not row.enable and row.is_spent(now)
        row.expiry_ms = row.expiry_ms if plan.expiry_ms is None else plan.expiry_ms
        row.total = row.total if plan.total is None else plan.total
        if was_spent and not row.is_spent(now) and panel.version >= (3, 4, 2):
            revived.append(email)
    if revived:
        set_enable_many(panel, revived, enable=True)
    return adjusted


def set_enable_many(panel: "Panel", emails: list[str], *, enable: bool) -> Reply:
    """Switch clients on or off with one write an inbound."""
    records, reasons = split_known(panel, emails)
    now = panel.clock.now_ms()
    for inbound, attached in by_inbound(panel, records):
        _switch_inbound(panel, inbound, attached, reasons, enable=enable)
    changed = 0
    for email, record in records.items():
        if email in reasons:
            continue
        changed += 1
        row = panel.state.traffic.get(email)
        if row is not None:
            row.enable = enable
        record.set(enable=enable, updatedAt=now)
    return with_skipped({"changed": changed}, as_skipped(reasons))


def _switch_inbound(
    panel: "Panel",
    inbound: InboundRow,
    attached: list[Record],
    reasons: dict[str, str],
    *,
    enable: bool,
) -> None:
    now, touched = panel.clock.now_ms(), False
    for record in attached:
        entry = inbound.settings.find(record.email)
        if entry is None:
            reasons.setdefault(record.email, "Client Not Found In Inbound")
        elif entry.data.get("enable") is not enable:
            inbound.settings.change(entry, enable=enable, updated_at=now)
            panel.xray.told(inbound, entry.data)
            touched = True
    if touched:
        sync_inbound(panel, inbound)


def _enable(call: Call) -> Reply:
    return set_enable_many(call.panel, read_emails(call), enable=True)


def _disable(call: Call) -> Reply:
    return set_enable_many(call.panel, read_emails(call), enable=False)


_HOME = "/panel/api/clients"
ROUTES = (
    Route("POST", f"{_HOME}/bulkAdjust", _adjust, since=(3, 1, 0), write=True),
    Route("POST", f"{_HOME}/bulkEnable", _enable, since=(3, 4, 1), write=True),
    Route("POST", f"{_HOME}/bulkDisable", _disable, since=(3, 4, 1), write=True),
)
