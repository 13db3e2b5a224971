"""pydantic's errors to faults in our words, each with its place.

Called by the loader. The rule above all others: no message repeats what stood in a manifest, but
the names of fields. Not here: the rules themselves (`kinds`, `fields`).
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from desired_state.manifests.documents import AUTH, Loaded
from desired_state.manifests.errors import Fault, FaultKind
from desired_state.manifests.fields import (
    CIPHERTEXT_PATTERN,
    ENV_PATTERN,
    LABEL_PATTERN,
    NAME_PATTERN,
    PIN_PATTERN,
)
from desired_state.manifests.positions import Item, Path

_FORMS = {
    NAME_PATTERN: "lower-case letters, digits and hyphens, 63 at most",
    LABEL_PATTERN: "letters, digits, dots, hyphens and underscores, 63 at most",
    ENV_PATTERN: "the name of a variable, such as NL1_TOKEN, never the secret itself",
    PIN_PATTERN: "64 hex digits, in pairs with or without colons between them",
    CIPHERTEXT_PATTERN: "what encrypting with this installation's key printed",
}
_TYPES = {
    "missing": ("is missing", ""),
    "string_type": ("must be text", "put it in quotes"),
    "bool_type": ("must be true or false", ""),
    "int_type": ("must be a whole number", "plain digits, without quotes"),
    "float_type": ("must be a number", "plain digits, without quotes"),
    "dict_type": ("must be a mapping", "indented lines of `name: value`"),
    "model_type": ("must be a mapping", "indented lines of `name: value`"),
    "list_type": ("must be a list", "lines that begin with a hyphen"),
}


def faults_of(error: ValidationError, loaded: Loaded, model: type[BaseModel]) -> Iterator[Fault]:
    """Say everything that is wrong with one document."""
    for details in error.errors(include_url=False):
        # Tags of unions stand in angle brackets, pydantic's word for a mapping's name is [key].
        path = tuple(name for name in details["loc"] if str(name)[:1] not in {"<", "["})
        if not _is_null(loaded.item, path):
            yield _fault(details, loaded, path, model)


def null_faults(loaded: Loaded) -> Iterator[Fault]:
    """Refuse every name without a value: empty would mean "unlimited" where a default is that."""
    for path in _nulls(loaded.item, ()):
        yield loaded.fault(
            FaultKind.SCHEMA,
            path,
            "has no value",
            "write one, or take the line out for the default",
            of_name=True,
        )


def _fault(details: ErrorDetails, loaded: Loaded, path: Path, model: type[BaseModel]) -> Fault:
    if details["type"] == "extra_forbidden":
        return _unknown_name(loaded, path, model)
    message, hint = _say(details)
    of_name = details["loc"][-1:] == ("[key]",)
    return loaded.fault(FaultKind.SCHEMA, path, message, hint, of_name=of_name)


def _unknown_name(loaded: Loaded, path: Path, model: type[BaseModel]) -> Fault:
    known = _names_at(model, path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    message = "is not known here"
    if path[: len(AUTH)] == AUTH:
        message, hint = "holds a name that is not known here", f"known are {', '.join(known)}"
    return loaded.fault(FaultKind.SCHEMA, path, message, hint, of_name=True)


def _say(details: ErrorDetails) -> tuple[str, str]:
    kind = details["type"]
    context: Mapping[str, Any] = details.get("ctx", {})
    if kind == "manifest":
        return context["message"], context["hint"]
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "string_pattern_mismatch":
        form = _FORMS.get(context["pattern"])
        return "has a wrong form", form or f"must match {context['pattern']}"
    if kind in {"literal_error", "enum"}:
        return f"must be {context['expected']}", ""
    return details["msg"].replace("Input should", "must").replace("String should", "must"), ""


def _is_null(item: Item, path: Path) -> bool:
    for name in path:
        if name not in item.children:
            return False
        item = item.children[name]
        if item.data is None:
            return True
    return False


def _nulls(item: Item, path: Path) -> Iterator[Path]:
    for name, child in item.children.items():
        if child.data is None:
            yield (*path, name)
        yield from _nulls(child, (*path, name))


def _names_at(model: type[BaseModel], path: Path) -> list[str]:
    """Names that the mapping at a path may hold."""
    found: type[BaseModel] = model
    for name in path:
        for field in found.model_fields.values():
            if field.alias == name:
                found = _model_in(field.annotation) or found
    return [str(field.alias) for field in found.model_fields.values()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := _model_in(part))), None)
