"""What each fault does to a request.

Callers: `faults`. Not here: which request is hit.
A kind gets the fault, the call and the connection; it returns the answer, or None when the
connection is gone.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from simulator import gojson, members
from simulator.faults import Fault
from simulator.wire import HTML_TYPE, Call, Reply, empty, envelope, redirect

if TYPE_CHECKING:
    from simulator.gate import Connection

Kind = Callable[[Fault, Call, "Connection"], Awaitable[Reply | None]]

_LOGIN_HTML = b"<!DOCTYPE html><html><head><title>Login</title></head><body></body></html>"
_PROXY_HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n"
    b"</body>\r\n</html>\r\n"
)


def _plain(make: Callable[[Fault, Call], Reply]) -> Kind:
    """A kind that only makes an answer."""

    async def serve(fault: Fault, call: Call, _: "Connection") -> Reply | None:
        return make(fault, call)

    return serve


async def _lost_request(_: Fault, __: Call, connection: "Connection") -> None:
    await connection.cut()


async def _lost_response(_: Fault, call: Call, connection: "Connection") -> None:
    call.panel.answer(call)
    await connection.cut()


def _answer_only(call: Call) -> Reply:
    """The answer that a request would get, without its effect."""
    panel = call.panel
    before, follows = panel.state, panel.trail.is_on
    panel.state, panel.trail.is_on = before.copy(), False
    try:
        return panel.answer(call)
    finally:
        panel.state, panel.trail.is_on = before, follows
        panel.touch()


def _lie(_: Fault, call: Call) -> Reply:
    return _answer_only(call)


async def _partial_batch(fault: Fault, call: Call, connection: "Connection") -> Reply | None:
    promised = _answer_only(call)
    call.body = members.first(call.body, int(fault.parameters.get("keep", 1)))
    call.panel.answer(call)
    answer = fault.parameters.get("answer", "success")
    if answer == "reset":
        await connection.cut(reset=True)
        return None
    return promised if answer == "success" else call.failed("wrong", "database is locked")


def _stale_list(fault: Fault, call: Call) -> Reply:
    panel, present = call.panel, call.panel.state
    if fault.snapshot is None:
        return panel.answer(call)
    panel.touch()
    panel.state = fault.snapshot
    # Sessions and tokens are of today; only what the list tells is old.
    panel.state.secret, panel.state.tokens = present.secret, present.tokens
    panel.state.login_epoch = present.login_epoch
    try:
        return panel.answer(call)
    finally:
        panel.state = present
        panel.touch()


def _with_obj(value: str) -> Callable[[Fault, Call], Reply]:
    def make(_: Fault, call: Call) -> Reply:
        honest = call.panel.answer(call)
        return envelope("", value) if b'"success":true' in honest.body[:20] else honest

    return make


def _half_list(_: Fault, call: Call) -> Reply:
    honest = call.panel.answer(call)
    body = json.loads(honest.body or b"null")
    if not isinstance(body, dict) or not isinstance(body.get("obj"), list):
        return honest
    rows = body["obj"]
    if "/inbounds/" in call.path:
        return envelope("", gojson.compact([_half_inbound(row) for row in rows]))
    return envelope("", gojson.compact(rows[: len(rows) // 2]))


def _half_inbound(row: dict[str, Any]) -> dict[str, Any]:
    settings = row["settings"]
    doc = json.loads(settings) if isinstance(settings, str) and settings else settings
    if isinstance(doc, dict) and isinstance(doc.get("clients"), list):
        doc["clients"] = doc["clients"][: len(doc["clients"]) // 2]
        row["settings"] = gojson.indented(doc) if isinstance(settings, str) else doc
    stats = row.get("clientStats")
    if isinstance(stats, list):
        row["clientStats"] = stats[: len(stats) // 2]
    return row


def _session_expired(_: Fault, call: Call) -> Reply:
    call.panel.auth.drop_sessions()
    route = call.panel.find_route(call)
    return call.panel.auth.stranger(call, route.group if route is not None else "api")


def _instead(reply: Callable[[Call], Reply], *, applied: bool = False) -> Kind:
    """A kind that answers something else, with or without the effect."""

    def make(_: Fault, call: Call) -> Reply:
        if applied:
            call.panel.answer(call)
        return reply(call)

    return _plain(make)


async def _slow(fault: Fault, call: Call, _: "Connection") -> Reply:
    await asyncio.sleep(float(fault.parameters.get("delay_s", 1)))
    return call.panel.answer(call)


async def _reset(_: Fault, call: Call, connection: "Connection") -> None:
    from simulator.gate import send_reply  # noqa: PLC0415 - the gate needs the faults

    reply = call.panel.answer(call)
    await send_reply(call.panel, call, reply, connection, len(reply.body) // 2)


def _truncated(_: Fault, call: Call) -> Reply:
    reply = call.panel.answer(call)
    reply.body = reply.body[: len(reply.body) // 2]
    return reply


def _database_locked(_: Fault, call: Call) -> Reply:
    members.commit_rows_only(call)
    return call.failed("wrong", "database is locked")


def _queue_full(_: Fault, call: Call) -> Reply:
    return call.failed("wrong", "traffic writer queue full")


def _lost_parallel_write(_: Fault, call: Call) -> Reply:
    # Another writer saves its older copy of the inbound after this one: rows of `client_traffics`
    # stay, the settings do not.
    panel = call.panel
    before = panel.state.copy().inbounds
    reply = panel.answer(call)
    for inbound_id, inbound in panel.state.inbounds.items():
        if inbound_id in before:
            inbound.settings = before[inbound_id].settings
    panel.touch()
    return reply


def _localised(fault: Fault, call: Call) -> Reply:
    call.panel.forced_language = str(fault.parameters.get("language", "ru-RU"))
    try:
        return call.panel.answer(call)
    finally:
        call.panel.forced_language = ""


def _skip_members(fault: Fault, call: Call) -> Reply:
    emails = set(fault.parameters.get("emails") or ())
    reason = str(fault.parameters.get("reason", "database is locked"))
    named = members.named(call.body) & emails
    call.body = members.without(call.body, emails)
    reply = call.panel.answer(call)
    body = json.loads(reply.body or b"null")
    if not named or not isinstance(body, dict) or not isinstance(body.get("obj"), dict):
        return reply
    listed = [{"email": email, "reason": reason} for email in sorted(named)]
    body["obj"]["skipped"] = (body["obj"].get("skipped") or []) + listed
    return envelope("", gojson.compact(body["obj"]))


def _refuse_delete(fault: Fault, call: Call) -> Reply:
    emails = set(fault.parameters.get("emails") or ())
    route = call.panel.find_route(call)
    is_delete = route is not None and "del" in route.path.lower()
    if is_delete and "bulkDel" in call.path:
        return _skip_members(fault, call)
    if is_delete and members.deleted_email(call) in emails:
        reason = str(fault.parameters.get("reason", "database is locked"))
        return call.failed("wrong", reason)
    return call.panel.answer(call)


def _duplicate_request(fault: Fault, call: Call) -> Reply:
    first = call.panel.answer(call)
    second = call.panel.answer(call)
    return first if fault.parameters.get("answer") == "first" else second


def _redirect(call: Call) -> Reply:
    return redirect(307, call.panel.options.base_path, unquote(call.method))


KINDS: dict[str, Kind] = {
    "lost_request": _lost_request,
    "lost_response": _lost_response,
    "lie": _plain(_lie),
    "partial_batch": _partial_batch,
    "stale_list": _plain(_stale_list),
    "empty_list": _plain(_with_obj("[]")),
    "null_obj": _plain(_with_obj("null")),
    "half_list": _plain(_half_list),
    "session_expired": _plain(_session_expired),
    "error_500": _instead(lambda _: empty(500)),
    "error_500_applied": _instead(lambda _: empty(500), applied=True),
    "empty_200": _instead(lambda _: empty(200)),
    "empty_200_applied": _instead(lambda _: empty(200), applied=True),
    "html_200": _instead(lambda _: Reply(200, _LOGIN_HTML, HTML_TYPE)),
    "slow": _slow,
    "reset": _reset,
    "truncated": _plain(_truncated),
    "database_locked": _plain(_database_locked),
    "traffic_writer_queue_full": _plain(_queue_full),
    "lost_parallel_write": _plain(_lost_parallel_write),
    "localised": _plain(_localised),
    "forbidden_403": _instead(lambda _: empty(403)),
    "redirect_307": _instead(_redirect),
    "bad_gateway_502": _instead(lambda _: Reply(502, _PROXY_HTML, "text/html")),
    "too_many_429": _instead(lambda _: Reply(429, b"", None, [("retry-after", "1")])),
    "skip_members": _plain(_skip_members),
    "refuse_delete": _plain(_refuse_delete),
    "duplicate_request": _plain(_duplicate_request),
}
