"""Rules across documents that concern declared inbounds: who shares a node, a port, a tag.

Called by `references` with every document, typed or not. Not here: rules inside one document
(`inbound_kind`), selectors that choose no node (`references`).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from desired_state.manifests.documents import Loaded
from desired_state.manifests.errors import Fault, FaultKind
from desired_state.manifests.panel_url import WrongUrl, parse_panel_url
from desired_state.manifests.positions import Path
from desired_state.model.inbound import TAG_PREFIX

SELECTOR: Path = ("spec", "selector")
PORT: Path = ("spec", "port")
TAG: Path = ("spec", "tag")
REMARK: Path = ("spec", "remark")
_URL: Path = ("spec", "panel", "url")


def check_inbounds(documents: Sequence[Loaded]) -> Iterator[Fault]:
    """Find declared inbounds that are in each other's way, or in the panel's own."""
    inbounds = [one for one in documents if one.kind == "Inbound" and one.name is not None]
    nodes = [one for one in documents if one.kind == "Node" and one.labels is not None]
    yield from _doubled(inbounds, TAG, "tag")
    yield from _doubled(inbounds, REMARK, "remark")
    for one, other in combinations(inbounds, 2):
        yield from _same_port(one, other, nodes)
    for one in inbounds:
        yield from _panels_port(one, nodes)


def _doubled(inbounds: Sequence[Loaded], path: Path, word: str) -> Iterator[Fault]:
    """A tag, and where panels make tags themselves a remark, is what an inbound is known by."""
    first: dict[str, Loaded] = {}
    for one in inbounds:
        other = first.setdefault(_known_by(one, path), one)
        if other is not one and other.name != one.name:
            message = f"has the {word} of inbound {other.name} too"
            yield one.fault(FaultKind.REFERENCE, path, message, "an inbound is known by it")


def _known_by(one: Loaded, path: Path) -> str:
    item = one.item.get(path)
    if item is not None and isinstance(item.data, str):
        return item.data
    return _known_by(one, TAG) if path == REMARK else f"{TAG_PREFIX}{one.name}"


def _same_port(one: Loaded, other: Loaded, nodes: Sequence[Loaded]) -> Iterator[Fault]:
    port = _port(one)
    if port is None or port != _port(other) or one.name == other.name:
        return
    if not _meet(_listen(one), _listen(other)):
        return
    shared = {node.name for node in _selected(one, nodes)}
    node = next((n for n in _selected(other, nodes) if n.name in shared), None)
    if node is not None:
        message = f"is the port of inbound {one.name} on node {node.name} already"
        yield other.fault(FaultKind.REFERENCE, PORT, message, "give one of the two another port")


def _panels_port(one: Loaded, nodes: Sequence[Loaded]) -> Iterator[Fault]:
    for node in _selected(one, nodes):
        url = node.item.get(_URL)
        if url is None or not isinstance(url.data, str):
            continue
        try:
            panel = parse_panel_url(url.data).panel
        except WrongUrl:  # told already, by the rules of its kind
            continue
        if panel[1] == _port(one):
            message = f"is the port of the panel of node {node.name}"
            yield one.fault(FaultKind.REFERENCE, PORT, message, "give it another port")
            return


def _selected(one: Loaded, nodes: Sequence[Loaded]) -> Iterator[Loaded]:
    pairs = one.pairs(SELECTOR)
    if pairs is None:
        return
    for node in nodes:
        if pairs.items() <= (node.labels or {}).items():
            yield node


def _port(one: Loaded) -> int | None:
    item = one.item.get(PORT)
    return item.data if item is not None and type(item.data) is int else None


def _listen(one: Loaded) -> str:
    item = one.item.get(("spec", "listen"))
    return item.data if item is not None and isinstance(item.data, str) else ""


def _meet(one: str, other: str) -> bool:
    return not one or not other or one == other
