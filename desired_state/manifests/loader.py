"""Files to one valid bundle, or to an error that names every fault at once.

Called by cli (`manifests validate|diff|apply`, `demo`) and sync. Steps: read, type, check across
documents, resolve. Not here: applying a bundle, resolving secrets.
"""

import difflib

from pydantic import ValidationError

from desired_state.manifests.bundle import Bundle
from desired_state.manifests.documents import Loaded
from desired_state.manifests.errors import Fault, FaultKind, error_of
from desired_state.manifests.kinds import API_VERSION, KINDS
from desired_state.manifests.positions import Item, parse_yaml
from desired_state.manifests.references import check_references
from desired_state.manifests.resolve import resolve
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles, ManifestSource
from desired_state.manifests.wording import faults_of, null_faults


def load_bundle(source: ManifestSource) -> Bundle:
    """Fetch, check and resolve everything that a source declares; blocking.

    Raises:
        ManifestSourceUnavailable: the source could not be read.
        ManifestError: something is wrong; `faults` holds all of it, each with its place.
    """
    return read_bundle(source.fetch())


def read_bundle(fetched: ManifestFiles) -> Bundle:
    """Check and resolve everything that one revision declares.

    Raises:
        ManifestError: something is wrong; `faults` holds all of it, each with its place.
    """
    documents, faults = read_documents(fetched.files)
    # A file that could not be read may have declared what the others refer to.
    is_complete = not any(fault.kind is FaultKind.SYNTAX for fault in faults)
    faults += check_references(documents, is_complete=is_complete)
    if not documents and not faults:
        # An empty declaration would orphan or drain every node: nobody means that by an empty file.
        faults.append(
            _at_start(fetched.files[0], "declares nothing, and neither does another file")
        )
    if faults:
        raise error_of(faults)
    return resolve(documents, revision=fetched.revision, source=fetched.source)


def read_documents(files: tuple[ManifestFile, ...]) -> tuple[list[Loaded], list[Fault]]:
    """Type every document of every file; those that break a rule come back untyped."""
    documents: list[Loaded] = []
    faults: list[Fault] = []
    for file in files:
        items, broken = parse_yaml(file.name, file.content)
        faults += broken
        for item in items:
            loaded, wrong = _read(file, item)
            documents.append(loaded)
            faults += wrong
    return documents, faults


def _read(file: ManifestFile, item: Item) -> tuple[Loaded, list[Fault]]:
    kind = item.children["kind"].data if "kind" in item.children else None
    if not isinstance(item.data, dict) or not isinstance(kind, str) or kind not in KINDS:
        loaded = Loaded(file, item, "", None)
        return loaded, _wrong_kind(loaded, kind)
    model = KINDS[kind]
    raw = Loaded(file, item, kind, None)
    faults = list(null_faults(raw))
    try:
        return Loaded(file, item, kind, model.model_validate(item.data)), faults
    except ValidationError as error:
        return raw, faults + list(faults_of(error, raw, model))


def _wrong_kind(loaded: Loaded, kind: object) -> list[Fault]:
    item = loaded.item
    if not isinstance(item.data, dict):
        hint = "begin with apiVersion, kind, metadata and spec"
        return [loaded.fault(FaultKind.SCHEMA, (), "a document must be a mapping", hint)]
    faults: list[Fault] = []
    if "apiVersion" not in item.children or item.children["apiVersion"].data != API_VERSION:
        message = f"must be {API_VERSION!r}"
        faults.append(loaded.fault(FaultKind.SCHEMA, ("apiVersion",), message))
    known = f"one of {', '.join(KINDS)}"
    if "kind" not in item.children:
        return [*faults, loaded.fault(FaultKind.SCHEMA, ("kind",), "is missing", known)]
    close = difflib.get_close_matches(str(kind).capitalize(), KINDS, n=1)
    hint = f"did you mean {close[0]}?" if close else known
    return [*faults, loaded.fault(FaultKind.SCHEMA, ("kind",), "is not known", hint)]


def _at_start(file: ManifestFile, message: str) -> Fault:
    hint = "take the file away, or declare a node"
    return Fault(file.name, 1, 1, "", message, hint, FaultKind.SCHEMA)
