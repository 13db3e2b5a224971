"""The audit of hard-coded addresses: finds what only a manifest, a setting or a test may hold.

One panel address that survived in five files is how a shop's new nodes stayed empty. Literals of
hosts, URLs, ports and panel paths are found in Python by its syntax (docstrings and comments are
no code), in templates, units and compose files by their lines.
Callers: test_hardcode. Not here: what is allowed, and why.
"""

import ast
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a literal is."""

    ADDRESS = "ip address"
    HOST = "host name"
    URL = "url"
    PORT = "port"
    PANEL_PATH = "panel path"


@dataclass(frozen=True, slots=True)
class Finding:
    """One literal: where it stands and what it is."""

    path: Path
    line: int
    kind: Kind
    text: str


# Bounds of the number itself and "any free port" are no address.
HARMLESS_PORTS = {0, 1, 65_535, 65_536}
PORT_NAME = re.compile(r"(?:^|_)ports?(?:$|_)", re.IGNORECASE)

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://(?:[^\s/@]*@)?[A-Za-z0-9\[]")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?![\w:])")
_HOST_PORT = re.compile(r"(?<![\w./-])(?:localhost|[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}):\d{2,5}(?!\w)")
_HOST = re.compile(
    r"^(?:localhost|(?:[a-z0-9-]+\.)+(?:com|net|org|ru|xyz|online|top|site|host|example))$",
    re.IGNORECASE,
)
_AFTER_HOST = re.compile(r"^:\d{3,5}(?!\w)")
_PANEL_PATH = re.compile(
    r"""(?x)
    (?:^|/)panel/(?:api|inbounds?|setting|xray|server|clients?)\b
    | (?:^|/)xui/(?:API|inbound)\b
    | (?:^|/)inbounds/(?:$|list|add|del|update|get|\{|:|\d|addClient|delClient)
    | (?:^|/)inbounds/?(?:\d+/)?(?:addClient|updateClient|delClient|delClientByEmail|resetClient)
    | (?:^|/)clients/(?:$|list|add|update|del|bulk|get|attach|detach|\{)
    | (?:^|/)server/(?:$|status|getDb|importDB)
    | (?:^|/)setting/(?:$|all|defaultSettings)
    | ^/login/?$ | ^login/?$ | ^/?logout/?$ | ^/?csrf-token$ | ^/?getTwoFactorEnable$
    """
)


def audit(path: Path) -> Iterator[Finding]:
    """Find every hard-coded literal of one file."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _audit_python(path, ast.parse(text, filename=str(path)))
    else:
        yield from _audit_lines(path, text)


# -- Python ----------------------------------------------------------------------------------------


def _audit_python(path: Path, module: ast.Module) -> Iterator[Finding]:
    docstrings = _docstrings(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            text = _text(node.value)
            for kind in kinds(text):
                yield Finding(path, node.lineno, kind, text)
        for name, value in _named_values(node):
            if PORT_NAME.search(name) and (port := _port(value)) is not None:
                yield Finding(path, value.lineno, Kind.PORT, f"{name}={port}")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _docstrings(module: ast.Module) -> set[int]:
    """Identities of strings that stand alone: docstrings, also those after a field."""
    return {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _named_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield values together with the name that they are given, compared with or passed as."""
    match node:
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Assign(targets=targets, value=value):
            yield from ((_last_name(target), value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield _last_name(target), value
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                yield (_text(key.value) if isinstance(key, ast.Constant) else ""), value
        case ast.Compare(left=left, comparators=others):
            names = [name for side in (left, *others) if (name := _last_name(side))]
            yield from ((name, side) for name in names for side in (left, *others))
        case ast.BoolOp(values=values):
            names = [name for side in values if (name := _last_name(side))]
            yield from ((name, side) for name in names for side in values)
        case ast.arguments():
            yield from _defaults(node)


def _defaults(node: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*node.posonlyargs, *node.args]
    with_default = positional[len(positional) - len(node.defaults) :]
    for arg, default in zip(with_default, node.defaults, strict=True):
        yield arg.arg, default
    for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
        if default is not None:
            yield arg.arg, default


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _port(value: ast.expr) -> int | None:
    """Read a port from a literal, a collection of literals or a choice between two."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and type(node.value) in (int, str):
            text = str(node.value)
            if text.isdecimal() and int(text) not in HARMLESS_PORTS and int(text) < 65_536:
                return int(text)
        if isinstance(node, ast.Call | ast.Lambda | ast.Attribute):
            return None
    return None


# -- everything else -------------------------------------------------------------------------------

_LINE_PORT = re.compile(
    r"(?i)(?:\bports?|_PORT)\b\W{1,4}(\d{2,5})\b|\bEXPOSE\s+(\d+)|\b\d{2,5}:\d{2,5}\b"
)
_WORD = re.compile(r"[^\s\"'`,;=(){}<>]+")


def _audit_lines(path: Path, text: str) -> Iterator[Finding]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0] if path.suffix != ".html" else raw
        for word in _WORD.findall(line):
            for kind in kinds(word):
                yield Finding(path, number, kind, word)
        if found := _LINE_PORT.search(line):
            yield Finding(path, number, Kind.PORT, found[0])


# -- one string ------------------------------------------------------------------------------------


def kinds(text: str) -> Iterator[Kind]:
    """Tell what a string holds; the same string may hold several."""
    if _URL.search(text):
        yield Kind.URL
    if any(_is_ip(word) for word in (*_IPV4.findall(text), *_IPV6.findall(text))):
        yield Kind.ADDRESS
    if _HOST_PORT.search(text) or _HOST.match(text.strip()):
        yield Kind.HOST
    if _AFTER_HOST.match(text):
        yield Kind.PORT
    if _PANEL_PATH.search(text.split("://", 1)[-1]):
        yield Kind.PANEL_PATH


def _is_ip(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    # "::" alone is a slice of text more often than an address, and "any address" names nobody.
    return word != "::"
