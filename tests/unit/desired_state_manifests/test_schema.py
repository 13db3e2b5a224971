"""The JSON Schema says what the loader enforces; the reference says what the schema says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from desired_state.manifests.field_tables import insert_fields
from desired_state.manifests.kinds import KINDS
from desired_state.manifests.schema import manifest_schema

ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = manifest_schema()["$defs"]


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of the schema that has properties."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_the_schema_is_json() -> None:
    assert manifest_schema() == json.loads(json.dumps(manifest_schema()))


def test_every_reference_inside_the_schema_leads_somewhere() -> None:
    text = json.dumps(manifest_schema())
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}

    assert set(DEFINITIONS) >= referred
    assert referred


def test_the_schema_knows_every_kind_and_only_these() -> None:
    kinds = {
        DEFINITIONS[part["$ref"].rpartition("/")[2]]["properties"]["kind"]["const"]
        for part in manifest_schema()["anyOf"]
    }

    assert {"Node", "Tariff", "Policy", "Inbound"} == kinds == set(KINDS)


def test_no_mapping_takes_unknown_names_and_nothing_takes_null() -> None:
    assert all(part["additionalProperties"] is False for part in objects(manifest_schema()))
    assert "null" not in json.dumps(manifest_schema())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schema_and_models_name_the_same_fields(kind) -> None:
    def names(model: type[BaseModel]) -> set[str]:
        return {str(field.alias) for field in model.model_fields.values()}

    spec = KINDS[kind].model_fields["spec"].annotation

    assert names(spec) == set(DEFINITIONS[spec.__name__]["properties"])


def test_every_field_has_a_description_or_a_described_type() -> None:
    told_by_themselves = {"apiVersion", "kind", "spec", "metadata", "ru", "en"}
    untold = [
        name
        for part in objects(manifest_schema())
        for name, field in part["properties"].items()
        if "description" not in field and "$ref" not in field and name not in told_by_themselves
    ]

    assert [] == untold


def test_the_reference_is_in_step_with_the_schema() -> None:
    """Renew it: .venv/bin/python -m desired_state.manifests.field_tables docs/manifests.md."""
    text = (ROOT / "docs" / "manifests.md").read_text(encoding="utf-8")

    assert insert_fields(text) == text


def test_a_reference_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        insert_fields("# Manifests\n")
