"""Status of the panel's host, its database as a file, and its list of sub-panels.

Callers: `app` collects `ROUTES`. Not here: control of Xray, which is not simulated.
"""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from simulator.database_file import database_file
from simulator.wire import Call, Refused, Reply, Route, obj

# A real panel fills its first status some seconds after its start.
_FIRST_STATUS_MS = 2000


def _status(call: Call) -> Reply:
    panel, version = call.panel, call.version
    now = panel.clock.now_ms()
    if panel.status_asked_ms is None:
        panel.status_asked_ms = now
    if now - panel.status_asked_ms < _FIRST_STATUS_MS:
        # QUIRK(first-status-null, 3x-ui all): success with no object means "not yet".
        return obj(None)
    uptime_s = (now - panel.started_ms) // 1000
    running = panel.xray_state == "running"
    error = "" if running else "fork/exec bin/xray-linux-amd64: no such file or directory"
    status: dict[str, object] = {
        "cpu": 1.0,
        "cpuCores": 2,
        "logicalPro": 2,
        "cpuSpeedMhz": 2299.998,
        "mem": {"current": 500_000_000, "total": 2_000_000_000},
        "swap": {"current": 0, "total": 0},
        "disk": {"current": 2_000_000_000, "total": 20_000_000_000},
        "xray": {
            "state": panel.xray_state,
            "errorMsg": error if panel.xray_state == "error" else "",
            "version": "26.3.27" if running else "Unknown",
        },
    }
    if version >= (3, 1, 0):
        status["panelVersion"] = str(version)
    if version >= (3, 3, 0):
        status["panelGuid"] = panel.state.guid
    status |= {"uptime": 86_400 + uptime_s, "loads": [0.1, 0.2, 0.3], "tcpCount": 20, "udpCount": 2}
    status |= _network(packets=version >= (3, 2, 7))
    status["appStats"] = {"threads": 15, "mem": 50_000_000, "uptime": uptime_s}
    return obj(status)


def _network(*, packets: bool) -> dict[str, object]:
    speed, total = {"up": 1000, "down": 1000}, {"sent": 1_000_000, "recv": 1_000_000}
    result: dict[str, object] = {}
    if packets:
        speed |= {"pktUp": 10, "pktDown": 10}
        total |= {"pktSent": 1000, "pktRecv": 1000}
        result["diskIO"] = {"read": 0, "write": 0}
        result["diskTraffic"] = {"read": 0, "write": 0}
    return {
        **result,
        "netIO": speed,
        "netTraffic": total,
        "publicIP": {"ipv4": "N/A", "ipv6": "N/A"},
    }


def _database(call: Call) -> Reply:
    """What the panel holds, as an SQLite file."""
    body = database_file(call.panel)
    disposition = f"attachment; filename={_file_name(call)}"
    return Reply(200, body, "application/octet-stream", [("content-disposition", disposition)])


def _file_name(call: Call) -> str:
    if call.version < (3, 4, 0):
        return "x-ui.db"
    host = call.headers.get("host", "127.0.0.1").rsplit(":", 1)[0]
    if call.version < (3, 4, 2):
        return f"{host}.db"
    moment = datetime.fromtimestamp(call.panel.clock.now_ms() / 1000, UTC)
    return f"{host}_{moment:%Y-%m-%d_%H%M%S}.db"


def _x25519(call: Call) -> Reply:
    """A key pair for Reality, as the panel's Xray prints one: 32 bytes each in base64 for URLs."""
    if call.panel.xray_state == "error":
        raise Refused("fork/exec bin/xray-linux-amd64: no such file or directory")
    seed = bytes.fromhex(call.panel.dice.hex() + call.panel.dice.hex())
    private = X25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    return obj({"privateKey": _url_text(seed), "publicKey": _url_text(public)})


def _url_text(value: bytes) -> str:
    return urlsafe_b64encode(value).decode().rstrip("=")


def _nodes(call: Call) -> Reply:
    del call
    return obj([])


ROUTES = (
    Route("POST", "/server/status", _status, until=(2, 6, 8), group="page"),
    Route("GET", "/panel/api/server/status", _status, since=(2, 7, 0)),
    Route("POST", "/server/getNewX25519Cert", _x25519, until=(2, 6, 8), group="page"),
    Route("GET", "/panel/api/server/getNewX25519Cert", _x25519, since=(2, 7, 0)),
    Route("GET", "/server/getDb", _database, until=(2, 6, 8), group="page"),
    Route("GET", "/panel/api/server/getDb", _database, since=(2, 7, 0)),
    Route("GET", "/panel/api/nodes/list", _nodes, since=(3, 0, 0)),
)
