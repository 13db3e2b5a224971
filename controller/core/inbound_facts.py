"""What is declared of an inbound, in the panel's own JSON; what differs from it, and laying it over.

Only what a manifest says stands in these documents: whatever else an inbound holds (keys, passwords,
short ids, clients) is never compared and travels through an update unchanged. Pure. Callers:
`declared` (compares), the panels' writer (lays over). Not here: what a new inbound needs besides.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from controller.core.observed import ObservedInbound
from desired_state.model.inbound import InboundSpec, InboundTls, Reality

Document = dict[str, Any]
_PATHS = {"ws": "wsSettings", "httpupgrade": "httpupgradeSettings", "xhttp": "xhttpSettings"}


def declared_document(spec: InboundSpec) -> Document:
    """Write down what is declared, in the names of the panel; protocol and method are not changed ever."""
    document: Document = {
        "port": spec.port,
        "listen": spec.listen,
        "remark": spec.remark,
        "enable": spec.enable,
        "streamSettings": _stream(spec),
    }
    if spec.sniffing is not None:
        document["sniffing"] = {"enabled": bool(spec.sniffing)}
        if spec.sniffing:
            document["sniffing"]["destOverride"] = list(spec.sniffing)
    return document


def _stream(spec: InboundSpec) -> Document:
    stream: Document = {"network": spec.network, "security": spec.security}
    if spec.network in _PATHS:
        stream[_PATHS[spec.network]] = {"path": spec.path or "/", "host": spec.host}
    elif spec.network == "grpc":
        stream["grpcSettings"] = {"serviceName": spec.path}
    if spec.reality is not None:
        stream["realitySettings"] = _reality(spec.reality)
    if spec.certificate is not None:
        stream["tlsSettings"] = _tls(spec.certificate)
    return stream


def _reality(reality: Reality) -> Document:
    # Panels up to 2.6 write `dest`, later ones `target`; Xray knows both, and takes the second.
    return {
        "dest": reality.target,
        "target": reality.target,
        "serverNames": list(reality.server_names),
        "settings": {"fingerprint": reality.fingerprint},
    }


def _tls(tls: InboundTls) -> Document:
    files = {"certificateFile": tls.certificate_file, "keyFile": tls.key_file}
    document: Document = {"certificates": [files]}
    if tls.server_name:
        document["serverName"] = tls.server_name
    if tls.alpn:
        document["alpn"] = list(tls.alpn)
    return document


def seen_document(seen: ObservedInbound) -> Document:
    """Write down what a look showed, in the same names."""
    return {
        "port": seen.port,
        "listen": seen.listen,
        "remark": seen.remark,
        "enable": seen.enable,
        "streamSettings": _with_target(_object(seen.stream)),
        "sniffing": _object(seen.sniffing),
    }


def _object(text: str) -> Document:
    """Read what a panel keeps as text: anybody may have stored there what is no JSON."""
    try:
        decoded = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _with_target(stream: Document) -> Document:
    """Let either name of Reality's target count: a panel's own page keeps one of them."""
    reality = stream.get("realitySettings")
    if isinstance(reality, dict):
        target = reality.get("target") or reality.get("dest")
        stream = {**stream, "realitySettings": {**reality, "target": target, "dest": target}}
    return stream


def differing(declared: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the declared fields that a look shows otherwise, as paths with dots; sorted."""
    return tuple(sorted(_differing(declared, seen, "")))


def _differing(declared: Any, seen: Any, path: str) -> Iterator[str]:  # noqa: ANN401 (any JSON)
    if isinstance(declared, dict):
        held = seen if isinstance(seen, dict) else {}
        for name, value in declared.items():
            if name != "dest":  # the older name of `target`
                yield from _differing(value, held.get(name), f"{path}.{name}" if path else name)
    elif not _holds(declared, seen):
        yield path


def _holds(declared: Any, seen: Any) -> bool:  # noqa: ANN401 (any JSON)
    if isinstance(declared, dict):
        return isinstance(seen, dict) and all(_holds(v, seen.get(k)) for k, v in declared.items())
    if isinstance(declared, list):
        fits = isinstance(seen, list) and len(seen) == len(declared)
        return fits and all(_holds(one, other) for one, other in zip(declared, seen, strict=True))
    # A panel leaves out, or nulls, what is empty.
    return bool(declared == seen) or (declared in ("", False) and seen is None)


def lay_over(declared: Mapping[str, Any], held: Mapping[str, Any]) -> Document:
    """Return what is held with everything declared in its place; the rest stays as it is."""
    return {**held, **{name: _laid(value, held.get(name)) for name, value in declared.items()}}


def _laid(declared: Any, held: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(declared, dict):
        return lay_over(declared, held if isinstance(held, dict) else {})
    if isinstance(declared, list) and declared and isinstance(declared[0], dict):
        fits = isinstance(held, list) and len(held) == len(declared)
        others = held if fits else [{}] * len(declared)
        return [_laid(one, other) for one, other in zip(declared, others, strict=True)]
    return declared
