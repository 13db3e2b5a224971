"""The paged list of clients: filters, order, summary.

Callers: `v3_reads`. Not here: filters by online state, usage and dates of the panel's own pages.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simulator.rows import view_row
from simulator.state import Record

if TYPE_CHECKING:
    from simulator.wire import Call

_DEFAULT_SIZE, _LARGEST_SIZE, _SUMMARY_SIZE = 25, 200, 200
_SEARCHED = ("email", "subId", "comment", "uuid", "password", "auth")
Row = tuple[Record, list[int]]


def page_of(call: "Call", rows: list[Row]) -> dict[str, object]:
    """One page with its summary."""
    size = min(_positive(call.one("pageSize")) or _DEFAULT_SIZE, _LARGEST_SIZE)
    found = [row for row in rows if _matches(call, row)]
    _sort(call, found)
    last = max(1, -(-len(found) // size))
    page = min(_positive(call.one("page")) or 1, last)
    items = [_slim(call, row) for row in found[(page - 1) * size : page * size]]
    result: dict[str, object] = {
        "items": items,
        "total": len(rows),
        "filtered": len(found),
        "page": page,
        "pageSize": size,
        "summary": _summary(call, rows),
    }
    if call.version >= (3, 2, 0):
        result["groups"] = sorted({str(r.fields["group"]) for r, _ in rows if r.fields["group"]})
    return result


def _positive(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _matches(call: "Call", row: Row) -> bool:
    record, homes = row
    needle = call.one("search").strip().lower()
    if needle and not any(needle in str(record.fields[name]).lower() for name in _SEARCHED):
        return False
    inbounds = {int(part) for part in call.one("inbound").split(",") if part.strip().isdigit()}
    if inbounds and not inbounds & set(homes):
        return False
    protocols = {part for part in call.one("protocol").split(",") if part}
    known = call.panel.state.inbounds
    if protocols and not protocols & {known[ib].protocol for ib in homes if ib in known}:
        return False
    wanted = {part for part in call.one("filter").split(",") if part}
    return not wanted or _bucket(call, record) in wanted


def _bucket(call: "Call", record: Record) -> str:
    row = call.panel.state.traffic.get(record.email)
    if row is not None and row.is_spent(call.panel.clock.now_ms()):
        return "depleted"
    return "active" if record.fields["enable"] else "deactive"


def _sort(call: "Call", rows: list[Row]) -> None:
    name = call.one("sort")
    key: Callable[[Row], Any] | None = None
    if name in {"enable", "expiryTime", "createdAt", "updatedAt"}:
        key = _by_field(name)
    elif name == "email":
        key = _by_email
    elif name == "inboundIds":
        key = _by_homes
    if key is not None:
        rows.sort(key=key, reverse=call.one("order") == "descend")


def _by_field(name: str) -> Callable[[Row], Any]:
    return lambda row: row[0].fields[name]


def _by_email(row: Row) -> str:
    return row[0].email.lower()


def _by_homes(row: Row) -> int:
    return len(row[1])


def _slim(call: "Call", row: Row) -> dict[str, object]:
    record, homes = row
    names = ["email", "subId", "enable", "totalGB", "expiryTime", "limitIp", "reset"]
    names += [name for name in ("group", "comment") if record.fields.get(name)]
    view = {name: record.fields[name] for name in names}
    view["inboundIds"] = homes
    traffic = call.panel.state.traffic.get(record.email)
    if traffic is not None:
        view["traffic"] = view_row(traffic, call.version)
    return view | {name: record.fields[name] for name in ("createdAt", "updatedAt")}


def _summary(call: "Call", rows: list[Row]) -> dict[str, object]:
    buckets: dict[str, list[str]] = {"active": [], "depleted": [], "deactive": []}
    for record, _ in rows:
        buckets[_bucket(call, record)].append(record.email)
    online = call.panel.background.online()
    counts: dict[str, object] = {}
    if call.version >= (3, 6, 0):
        counts = {
            "onlineCount": len(online),
            "depletedCount": len(buckets["depleted"]),
            "expiringCount": 0,
            "deactiveCount": len(buckets["deactive"]),
        }
    return {
        "total": len(rows),
        "active": len(buckets["active"]),
        **counts,
        "online": online[:_SUMMARY_SIZE],
        "depleted": buckets["depleted"][:_SUMMARY_SIZE],
        "expiring": [],
        "deactive": buckets["deactive"][:_SUMMARY_SIZE],
    }
