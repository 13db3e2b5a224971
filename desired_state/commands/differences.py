"""Differences between what is declared and what the database holds, fit to be shown.

Pure. Callers: `commands.manifests`, and whoever renders them. Not here: rows, writing. No
difference holds a secret: a reference is named by its place, a ciphertext not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verb(StrEnum):
    """What applying does to one declared thing."""

    CREATE = "create"
    UPDATE = "update"
    RESTORE = "restore"
    """It had vanished from its manifests and is declared anew."""
    ORPHAN = "orphan"
    DRAIN = "drain"
    """Orphan, and have its keys leave."""
    WITHDRAW = "withdraw"
    """A tariff that is not sold any more; its subscriptions go on."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field. `path` reads `auth.token`; a value is JSON, None where there is none."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that would change. `kind`: Node, Tariff, Policy, Inbound or Installation."""

    kind: str
    name: str
    verb: Verb
    fields: tuple[FieldChange, ...] = ()


def compare(before: dict[str, Any], after: dict[str, Any]) -> tuple[FieldChange, ...]:
    """Compare two declared values field by field.

    Shapes: as `store.convert.spec_to_json` makes them. Empty values on both sides are equal.

    Returns:
        Changes sorted by path; empty when equal.
    """
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    return tuple(
        FieldChange(path, _shown(old.get(path)), _shown(new.get(path)))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    )


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (any JSON)
    """Walk objects down to what is shown whole: scalars, lists, secret references."""
    if isinstance(value, dict) and not _is_reference(value):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, part)
    elif value not in (None, [], "") or path == "":
        yield path, value


def _is_reference(value: dict[str, Any]) -> bool:
    return set(value) == {"kind", "value"} and value["kind"] in ("env", "file", "ciphertext")


def _shown(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(value, dict):
        return (
            value["kind"] if value["kind"] == "ciphertext" else f"{value['kind']} {value['value']}"
        )
    return value
