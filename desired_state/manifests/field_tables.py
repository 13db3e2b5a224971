"""The reference of all fields as Markdown tables, made from the JSON Schema.

`python -m desired_state.manifests.field_tables docs/manifests.md` writes it between the marks of that
file; a test fails when the two differ. Not here: prose about manifests.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from desired_state.manifests.kinds import KINDS
from desired_state.manifests.schema import manifest_schema

BEGIN = "<!-- fields: made from the JSON Schema, do not edit -->"
END = "<!-- end of fields -->"
_HEAD = "| field | type | default | |\n| --- | --- | --- | --- |"


def render_fields() -> str:
    """Return one section with a table for each kind; required fields are bold."""
    definitions = manifest_schema()["$defs"]
    sections: list[str] = []
    for kind in KINDS:
        document = definitions[f"{kind}Document"]
        rows = "\n".join(_rows(document, "", definitions))
        sections.append(f"### {kind}\n\n{document['description']}\n\n{_HEAD}\n{rows}\n")
    return "\n".join(sections)


def insert_fields(text: str) -> str:
    """Return a document with the tables between its marks renewed.

    Raises:
        ValueError: a mark is missing.
    """
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("the document lacks the marks of the tables")
    return f"{before}{BEGIN}\n\n{render_fields()}\n{END}{after}"


def _rows(schema: Mapping[str, Any], prefix: str, definitions: Mapping[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        path = f"{prefix}{name}"
        shown = f"**`{path}`**" if name in schema.get("required", ()) else f"`{path}`"
        target = _target(field, definitions)
        # What a reference to a secret is, is told once, in prose.
        about = field.get("description") or (
            "" if _is_secret(field) else target.get("description", "")
        )
        default = f"`{_value(field['default'])}`" if "default" in field else ""
        yield f"| {shown} | {_type(field, definitions)} | {default} | {' '.join(about.split())} |"
        for part in (target, *_alternatives(target, definitions)):
            inner = _target(part.get("items", part), definitions)
            if "properties" in inner and not _is_secret(field):
                yield from _rows(
                    inner, f"{path}[]." if "items" in part else f"{path}.", definitions
                )


def _alternatives(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Any]:
    return [_target(part, definitions) for part in field.get("oneOf", ())]


def _is_secret(field: Mapping[str, Any]) -> bool:
    return str(field.get("$ref", "")).endswith("/Secret")


def _target(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = field.get("$ref")
    found: Mapping[str, Any] = definitions[reference.rpartition("/")[2]] if reference else field
    return found


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if _is_secret(field):
        return "secret"
    target = _target(field, definitions)
    if "const" in target:
        return f"`{target['const']}`"
    if "enum" in target:
        return ", ".join(f"`{value}`" if value else '`""`' for value in target["enum"])
    if "oneOf" in target:
        return " or ".join(_type(part, definitions) for part in target["oneOf"])
    if "patternProperties" in target:
        (value,) = target["patternProperties"].values()
        return f"mapping of {value['type']}s"
    names = {"object": "mapping", "array": "list"}
    kind: str = target["type"]
    return names.get(kind, kind) + _bounds(target)


def _value(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _bounds(target: Mapping[str, Any]) -> str:
    low, high = target.get("minimum"), target.get("maximum")
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    return "" if low is None else f", {low:,} or more"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(insert_fields(file.read_text(encoding="utf-8")), encoding="utf-8")
