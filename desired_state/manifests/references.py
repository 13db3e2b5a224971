"""Rules across documents: doubled names, one panel twice, labels that nobody carries.

Called by the loader with every document, typed or not, so that all faults show at once.
Not here: rules inside one document (`kinds`).
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath

from desired_state.manifests.documents import AUTH, Loaded
from desired_state.manifests.errors import Fault, FaultKind
from desired_state.manifests.inbound_rules import SELECTOR as INBOUND_SELECTOR
from desired_state.manifests.inbound_rules import check_inbounds
from desired_state.manifests.panel_url import WrongUrl, parse_panel_url
from desired_state.manifests.positions import Path

URL: Path = ("spec", "panel", "url")
CA_FILE: Path = ("spec", "panel", "tls", "verify", "caFile")
COUNT: Path = ("spec", "nodes", "count")
SELECTORS: dict[str, Path] = {
    "Tariff": ("spec", "nodes", "selector"),
    "Policy": ("spec", "selector"),
    "Inbound": INBOUND_SELECTOR,
}
FLEET_ONLY: tuple[Path, ...] = (("spec", "guards", "fleetDeletes"), ("spec", "emailTemplate"))
SECRETS = ("token", "username", "password", "totpSecret", "loginSecret")
_FOR_THE_FLEET = "counts for the fleet: only a policy without selector may hold it"
_NO_FOLDER = "is a relative path, and these manifests come from no folder on this machine"


def check_references(documents: Sequence[Loaded], *, is_complete: bool) -> list[Fault]:
    """Find what documents that may be right by themselves make wrong together.

    Args:
        documents: in the order of files and places.
        is_complete: False when a file could not be read to its end; then labels that are missing
            may stand there, and no selector is called wrong.
    """
    faults = [
        *_doubled_names(documents),
        *_doubled_panels(documents),
        *_doubled_policies(documents),
        *_fleet_values(documents),
        *_relative_paths(documents),
        *check_inbounds(documents),
    ]
    # A document of unknown kind was perhaps meant as a node.
    labels = [document.labels for document in documents if document.kind in {"Node", ""}]
    known = [pairs for pairs in labels if pairs is not None]
    if is_complete and len(known) == len(labels):
        for document in documents:
            faults += _selector(document, known)
    return faults


def _doubled_names(documents: Sequence[Loaded]) -> Iterator[Fault]:
    first: dict[tuple[str, str], Loaded] = {}
    for document in documents:
        if document.name is None or not document.kind:
            continue
        other = first.setdefault((document.kind, document.name), document)
        if other is not document:
            yield _reference(
                document,
                ("metadata", "name"),
                f"{document.kind} {document.name} is declared already, at {_place(other)}",
                "names are unique: rename one of the two",
            )


def _doubled_panels(documents: Sequence[Loaded]) -> Iterator[Fault]:
    first: dict[tuple[str, int, str], Loaded] = {}
    for document in documents:
        url = document.item.get(URL)
        if document.kind != "Node" or url is None or not isinstance(url.data, str):
            continue
        try:
            panel = parse_panel_url(url.data).panel
        except WrongUrl:  # told already, by the rules of its kind
            continue
        other = first.setdefault(panel, document)
        if other is not document:
            yield _reference(
                document,
                URL,
                f"is the panel of node {other.name} already, at {_place(other, URL)}",
                "one panel is one node: two would delete each other's keys",
            )


def _doubled_policies(documents: Sequence[Loaded]) -> Iterator[Fault]:
    first: dict[frozenset[tuple[str, str]], Loaded] = {}
    for document in documents:
        pairs = document.pairs(SELECTORS["Policy"])
        if document.kind != "Policy" or pairs is None:
            continue
        other = first.setdefault(frozenset(pairs.items()), document)
        if other is not document:
            yield _reference(
                document,
                SELECTORS["Policy"],
                f"selects what policy {other.name} selects, at {_place(other)}",
                "join the two: one of them would never apply",
            )


def _fleet_values(documents: Sequence[Loaded]) -> Iterator[Fault]:
    for document in documents:
        if document.kind == "Policy" and document.pairs(SELECTORS["Policy"]):
            for path in FLEET_ONLY:
                if document.item.get(path) is not None:
                    hint = "move it to that policy"
                    yield _reference(document, path, _FOR_THE_FLEET, hint, of_name=True)


def _relative_paths(documents: Sequence[Loaded]) -> Iterator[Fault]:
    paths = [CA_FILE, *((*AUTH, secret, "file") for secret in SECRETS)]
    for document in documents:
        if document.kind != "Node" or document.file.folder is not None:
            continue
        for path in paths:
            item = document.item.get(path)
            if item is None or not isinstance(item.data, str):
                continue
            if not FilePath(item.data).is_absolute():
                yield _reference(document, path, _NO_FOLDER, "write an absolute path")


def _selector(document: Loaded, nodes: Sequence[dict[str, str]]) -> Iterator[Fault]:
    path = SELECTORS.get(document.kind)
    pairs = document.pairs(path) if path else None
    if not path or not pairs:
        return
    unknown = list(_unknown_labels(document, (path, pairs), nodes))
    selected = [labels for labels in nodes if pairs.items() <= labels.items()]
    if unknown:
        yield from unknown
    elif not selected:
        hint = "each label is carried by some node, all together by none"
        yield _reference(document, path, "selects no node", hint)
    elif document.kind == "Tariff":
        yield from _count(document, len(selected))


def _unknown_labels(
    document: Loaded, selector: tuple[Path, dict[str, str]], nodes: Sequence[dict[str, str]]
) -> Iterator[Fault]:
    path, pairs = selector
    names = {name for labels in nodes for name in labels}
    for name, value in pairs.items():
        values = {labels[name] for labels in nodes if name in labels}
        if name not in names:
            message, hint = f"no node has a label {name}", _close(name, names)
            yield _reference(document, (*path, name), message, hint, of_name=True)
        elif value not in values:
            message, hint = f"no node has the label {name}: {value}", _close(value, values)
            yield _reference(document, (*path, name), message, hint)


def _count(document: Loaded, selected: int) -> Iterator[Fault]:
    count = document.item.get(COUNT)
    if count is None or isinstance(count.data, bool) or not isinstance(count.data, int):
        return
    if count.data > selected:
        message = f"asks for {count.data} nodes, and its selector has {selected}"
        yield _reference(document, COUNT, message, "lower it, or write all")


def _close(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known are {', '.join(sorted(known)[:10])}" if known else "no node has any label"


def _reference(
    document: Loaded, path: Path, message: str, hint: str, *, of_name: bool = False
) -> Fault:
    return document.fault(FaultKind.REFERENCE, path, message, hint, of_name=of_name)


def _place(document: Loaded, path: Path = ("metadata", "name")) -> str:
    spot = document.item.spot_of(path)
    return f"{document.file.name}:{spot.line}:{spot.column}"
