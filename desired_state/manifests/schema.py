"""The JSON Schema of a manifest, for editors; printed by `x3fleet manifests schema`.

Made from the same models that validate, so the two cannot differ. Not here: rules across documents,
which no schema can say.
"""

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema, NullableSchema, WithDefaultSchema

from desired_state.manifests.kinds import API_VERSION, Document


class _WithoutNull(GenerateJsonSchema):
    """Null is how the models say "not given"; in a manifest the name is left out instead."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", None) is None or isinstance(made["default"], dict):
            made.pop("default", None)
        return made

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401, ARG002 as inherited
        return False  # names say enough; titles made of them say it twice


def manifest_schema() -> dict[str, Any]:
    """Return the schema of one document of any kind (draft 2020-12), ready for `json.dumps`."""
    made = TypeAdapter[Document](Document).json_schema(schema_generator=_WithoutNull)
    return {"title": f"Manifests {API_VERSION}", **made}
