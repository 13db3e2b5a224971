"""The panel's client struct: which fields a version knows, their types and zero values.

Callers: `v2`, the `v3_*` modules, `inbounds`, `background`, `upgrade`.
Not here: where clients are stored.
"""

from typing import Any

from simulator.gojson import Doc, kind_of
from simulator.version import Version
from simulator.wire import Refused

# name: (kind, version of its appearance). Kinds are the struct's Go types.
_FIELDS: dict[str, tuple[str, tuple[int, int, int]]] = {
    "id": ("string", (2, 3, 15)),
    "security": ("string", (2, 3, 15)),
    "password": ("string", (2, 3, 15)),
    "flow": ("string", (2, 3, 15)),
    "reverse": ("object", (2, 9, 4)),
    "auth": ("string", (2, 9, 0)),
    "privateKey": ("string", (3, 4, 2)),
    "publicKey": ("string", (3, 4, 2)),
    "allowedIPs": ("strings", (3, 4, 2)),
    "preSharedKey": ("string", (3, 4, 2)),
    "keepAlive": ("int", (3, 4, 2)),
    "secret": ("string", (3, 5, 0)),
    "adTag": ("string", (3, 5, 0)),
    "email": ("string", (2, 3, 15)),
    "limitIp": ("int", (2, 3, 15)),
    "totalGB": ("int64", (2, 3, 15)),
    "expiryTime": ("int64", (2, 3, 15)),
    "enable": ("bool", (2, 3, 15)),
    "tgId": ("int64", (2, 3, 15)),
    "subId": ("string", (2, 3, 15)),
    "group": ("string", (3, 2, 0)),
    "comment": ("string", (2, 4, 11)),
    "reset": ("int", (2, 3, 15)),
    "created_at": ("int64", (2, 6, 7)),
    "updated_at": ("int64", (2, 6, 7)),
}
_ALWAYS_WRITTEN = frozenset(
    {
        "security",
        "email",
        "limitIp",
        "totalGB",
        "expiryTime",
        "enable",
        "tgId",
        "subId",
        "comment",
        "reset",
    }
)
_OLD_ALWAYS_WRITTEN = _ALWAYS_WRITTEN | {"id", "password", "flow"}
_ZERO: dict[str, object] = {"string": "", "int": 0, "int64": 0, "bool": False}
_PYTHON: dict[str, type] = {"string": str, "int": int, "int64": int, "bool": bool}


def known_fields(version: Version) -> dict[str, str]:
    """Kinds of the fields that a version's struct has, in the struct's order."""
    return {name: kind for name, (kind, since) in _FIELDS.items() if since <= version}


def _fits(kind: str, value: object) -> bool:
    if kind == "object":
        return isinstance(value, dict)
    if kind == "strings":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    wanted = _PYTHON[kind]
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def typed(data: Doc, version: Version) -> Doc:
    """Read a stored client as the struct sees it: missing or mistyped fields are zero."""
    result: Doc = {}
    for name, kind in known_fields(version).items():
        value = data.get(name)
        result[name] = value if _fits(kind, value) else _ZERO.get(kind)
    return result


def bind(body: object, version: Version, path: str) -> Doc:
    """Read a posted client.

    Args:
        body: the JSON value.
        version: decides the fields; unknown keys are dropped.
        path: where the struct stands in the posted document, such as `client.`.

    Raises:
        Refused: a value of the wrong type, in the words of Go's decoder.
    """
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise Refused(_mismatch(body, f"value of type {path}Client"))
    check_types(body, version, path)
    return typed(body, version)


def check_types(data: Doc, version: Version, path: str = "") -> None:
    """Refuse a client with a value of the wrong type.

    Raises:
        Refused: in the words of Go's decoder, which names the innermost struct and the whole
            path inside it.
    """
    for name, kind in known_fields(version).items():
        value = data.get(name)
        if value is not None and not _fits(kind, value):
            raise Refused(_mismatch(value, f"struct field Client.{path}{name} of type {_go(kind)}"))


def _mismatch(value: object, target: str) -> str:
    return f"json: cannot unmarshal {kind_of(value)} into Go {target}"


def _go(kind: str) -> str:
    return {"object": "model.ClientReverse", "strings": "string"}.get(kind, kind)


def to_wire(client: Doc, version: Version) -> Doc:
    """Write the struct as JSON: empty optional fields are left out."""
    always = _ALWAYS_WRITTEN if version >= (2, 9, 0) else _OLD_ALWAYS_WRITTEN
    return {
        name: client[name]
        for name in known_fields(version)
        if name in always or client.get(name) not in ("", 0, None, [])
    }


def key_name(protocol: str) -> str:
    """The field that identifies a client in v2 calls."""
    names = {"trojan": "password", "shadowsocks": "email", "hysteria": "auth", "hysteria2": "auth"}
    return names.get(protocol, "id")


def list_of(data: Doc, name: str, item: type) -> list[Any]:
    """A posted list of strings or integers; empty when missing.

    Raises:
        Refused: another type.
    """
    value = data.get(name)
    if value is None:
        return []
    kind = "string" if item is str else "int"
    if not isinstance(value, list):
        raise Refused(_mismatch(value, f"struct field .{name} of type []{kind}"))
    for member in value:
        if not isinstance(member, item) or isinstance(member, bool):
            raise Refused(_mismatch(member, f"struct field .{name} of type {kind}"))
    return value


def text_of(data: Doc, name: str) -> str:
    """A string field of a stored client; empty when missing or of another type."""
    value: Any = data.get(name)
    return value if isinstance(value, str) else ""


def number_of(data: Doc, name: str) -> int:
    """An integer field of a stored client; 0 when missing or of another type."""
    value: Any = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
