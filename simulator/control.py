"""The control port: JSON over HTTP to look into a panel, change it by hand and damage it.

Callers: `app` makes one for each panel; tests and `x3fleet simulate` talk to it.
Not here: what the panel's own users can do. Every call answers JSON; a refusal is a 400 with
`{"error": ...}`.
"""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from simulator import by_hand
from simulator.rows import view_row
from simulator.v3_reads import attachments_by_record
from simulator.v3_records import view_record

if TYPE_CHECKING:
    from simulator.app import Panel

Body = dict[str, Any]
Action = Callable[["Panel", Request, Body], Any]


def view_panel(panel: "Panel") -> Body:
    """The panel's database and counters, parsed, independent of its version."""
    state = panel.state
    homes = attachments_by_record(panel)
    return {
        "version": str(panel.version),
        "guid": state.guid,
        "now_ms": panel.clock.now_ms(),
        "inbounds": [
            {
                "id": inbound.id,
                "port": inbound.port,
                "protocol": inbound.protocol,
                "tag": inbound.tag,
                "remark": inbound.remark,
                "enable": inbound.enable,
                "settings": json.loads(inbound.settings.nested),
                "streamSettings": json.loads(inbound.stream or "null"),
            }
            for inbound in state.inbounds.values()
        ],
        "clients": [
            {**view_record(record), "inboundIds": homes.get(record.id, [])}
            for record in state.records.values()
        ],
        "xray": {
            "restarts": panel.xray.restarts,
            "unserved": panel.xray.unserved(),
            "lingering": panel.xray.lingering(),
        },
        "traffic": [view_row(row, panel.version) for row in state.traffic],
        "writes": sum(line.write for line in panel.log),
        "requests": len(panel.log),
    }


def _state(panel: "Panel", _: Request, __: Body) -> Body:
    return view_panel(panel)


def _size(panel: "Panel", _: Request, __: Body) -> Body:
    inbounds = panel.state.inbounds.values()
    return {
        "clients": sum(len(inbound.settings.clients) for inbound in inbounds),
        "requests": len(panel.log),
    }


def _requests(panel: "Panel", _: Request, __: Body) -> list[Body]:
    return [line.__dict__ for line in panel.log]


def _forget_requests(panel: "Panel", _: Request, __: Body) -> Body:
    panel.log.clear()
    return {}


def _trail(panel: "Panel", _: Request, __: Body) -> list[Body]:
    return [line.__dict__ for line in panel.trail.lines]


def _begin_trail(panel: "Panel", _: Request, body: Body) -> Body:
    panel.trail.begin(on=bool(body.get("on", True)))
    return {}


def _arm(panel: "Panel", _: Request, body: Body) -> Body:
    return {"id": panel.faults.arm(body)}


def _faults(panel: "Panel", _: Request, __: Body) -> list[Body]:
    return panel.faults.list()


def _clear_faults(panel: "Panel", _: Request, __: Body) -> Body:
    panel.faults.clear()
    return {}


def _add_inbound(panel: "Panel", _: Request, body: Body) -> Body:
    return {"id": by_hand.add_inbound(panel, body)}


def _change_inbound(panel: "Panel", request: Request, body: Body) -> Body:
    by_hand.change_inbound(panel, request.path_params["id"], body.get("set") or {})
    return {}


def _delete_inbound(panel: "Panel", request: Request, _: Body) -> Body:
    by_hand.remove_inbound(panel, request.path_params["id"])
    return {}


def _add_client(panel: "Panel", _: Request, body: Body) -> Body:
    by_hand.add_client(panel, int(body["inbound"]), body["client"])
    return {}


def _edit_client(panel: "Panel", _: Request, body: Body) -> Body:
    by_hand.edit_client(panel, str(body["email"]), body["set"])
    return {}


def _delete_client(panel: "Panel", _: Request, body: Body) -> Body:
    by_hand.delete_client(panel, str(body["email"]))
    return {}


def _traffic(panel: "Panel", _: Request, body: Body) -> Body:
    up, down = int(body.get("up", 0)), int(body.get("down", 0))
    if not panel.background.count(str(body["email"]), up, down):
        message = f"no traffic row for {body['email']}"
        raise ValueError(message)
    return {}


def _wipe(panel: "Panel", _: Request, body: Body) -> Body:
    panel.wipe(keep_guid=bool(body.get("keep_guid")))
    return {"guid": panel.state.guid}


def _restart(panel: "Panel", _: Request, __: Body) -> Body:
    panel.restart()
    return {}


def _upgrade(panel: "Panel", _: Request, body: Body) -> Body:
    panel.upgrade(str(body["version"]))
    return {"version": str(panel.version)}


def _guid(panel: "Panel", _: Request, body: Body) -> Body:
    panel.state.guid = str(body.get("guid") or panel.dice.uuid())
    return {"guid": panel.state.guid}


def _clock(panel: "Panel", _: Request, body: Body) -> Body:
    panel.clock.advance(float(body["advance_s"]))
    panel.background.catch_up()
    return {"now_ms": panel.clock.now_ms()}


def _cost(panel: "Panel", _: Request, body: Body) -> Body:
    panel.cost_us = int(body["per_client_us"])
    return {}


def _xray(panel: "Panel", _: Request, body: Body) -> Body:
    panel.xray_state = str(body["state"])
    return {}


def _snapshot(panel: "Panel", _: Request, __: Body) -> Body:
    return {"id": panel.snapshot()}


def _restore(panel: "Panel", _: Request, body: Body) -> Body:
    panel.restore(int(body["id"]))
    return {}


def _background(panel: "Panel", _: Request, __: Body) -> Body:
    panel.background.run()
    return {}


def _options(panel: "Panel", _: Request, body: Body) -> Body:
    state = panel.state
    if "username" in body or "password" in body:
        username = str(body.get("username", state.username))
        panel.set_credentials(username, str(body.get("password", state.password)))
    if "token" in body:
        state.tokens.clear()
        if body["token"]:
            panel.add_token("control", str(body["token"]))
    return {}


_ACTIONS: tuple[tuple[str, str, Action], ...] = (
    ("GET", "/state", _state),
    ("GET", "/size", _size),
    ("GET", "/requests", _requests),
    ("DELETE", "/requests", _forget_requests),
    ("GET", "/trail", _trail),
    ("POST", "/trail", _begin_trail),
    ("POST", "/faults", _arm),
    ("GET", "/faults", _faults),
    ("DELETE", "/faults", _clear_faults),
    ("POST", "/inbounds", _add_inbound),
    ("POST", "/inbounds/{id:int}", _change_inbound),
    ("DELETE", "/inbounds/{id:int}", _delete_inbound),
    ("POST", "/clients/add", _add_client),
    ("POST", "/clients/edit", _edit_client),
    ("POST", "/clients/delete", _delete_client),
    ("POST", "/traffic", _traffic),
    ("POST", "/wipe", _wipe),
    ("POST", "/restart", _restart),
    ("POST", "/upgrade", _upgrade),
    ("POST", "/guid", _guid),
    ("POST", "/clock", _clock),
    ("POST", "/cost", _cost),
    ("POST", "/xray", _xray),
    ("POST", "/snapshot", _snapshot),
    ("POST", "/restore", _restore),
    ("POST", "/background", _background),
    ("POST", "/options", _options),
)


def control_app(panel: "Panel") -> Starlette:
    """Make the control port of a panel."""

    def endpoint(action: Action) -> Callable[[Request], Awaitable[JSONResponse]]:
        async def serve(request: Request) -> JSONResponse:
            try:
                raw = await request.body()
                body = json.loads(raw) if raw else {}
                answer = action(panel, request, body)
            except (KeyError, LookupError, TypeError, ValueError) as error:
                return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
            return JSONResponse(answer)

        return serve

    routes = [Route(path, endpoint(act), methods=[method]) for method, path, act in _ACTIONS]
    return Starlette(routes=routes)
