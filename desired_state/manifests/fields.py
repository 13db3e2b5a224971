"""The small values inside manifests: names, labels, sizes, durations, references to secrets.

Used by `kinds`. Each says in its own words what is wrong, never with a value in the message.
Not here: whole documents, and whether a reference leads anywhere.
"""

import re
from collections.abc import Callable
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from desired_state.manifests.panel_url import WrongUrl, parse_host, parse_panel_url
from desired_state.model.errors import InvalidValue
from desired_state.model.quantities import parse_size

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
LABEL_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
DURATION_PATTERN = r"^(0|[1-9][0-9]{0,5})(s|m|h|d)$"
SIZE_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,6})? ?[KMGT]?i?B$"
CIPHERTEXT_PATTERN = r"^gAAAA[A-Za-z0-9_-]+={0,2}$"
PIN_PATTERN = r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_S = 3650 * 86_400
LARGEST_SIZE = 2**62
"""Room in a signed 64-bit counter for a quota on top of what was used."""


class Part(BaseModel):
    """A mapping inside a manifest: unknown names are refused, nothing is converted silently."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """Make an error with our own sentence and a hint beside it."""
    # Braces would be read as placeholders of pydantic's own templates.
    return PydanticCustomError("manifest", "{message}", {"message": message, "hint": hint})


def _duration(minimum_s: int, *, or_zero: bool = False) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value, re.ASCII):
            raise wrong("is no duration", "write a whole number with s, m, h or d: 90s, 10m, 7d")
        seconds = int(value[:-1]) * _SECONDS[value[-1]]
        if seconds < minimum_s and not (or_zero and seconds == 0):
            raise wrong(f"must be at least {minimum_s}s" + (", or 0s for never" if or_zero else ""))
        if seconds > LONGEST_S:
            raise wrong("must be at most 3650d")
        return seconds

    return parse


def _size(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(SIZE_PATTERN, value, re.ASCII):
        raise wrong("is no size", "write a number with its unit: 200GiB, 1.5TB, 500MB")
    try:
        size = parse_size(value)
    except InvalidValue as error:
        raise wrong("has an unknown unit", error.hint or "") from error
    if not 0 < size <= LARGEST_SIZE:
        raise wrong("must be more than 0 and less than 4 EiB", "leave it out for unlimited")
    return size


def _url(value: str) -> str:
    try:
        return str(parse_panel_url(value))
    except WrongUrl as error:
        hint = "write it as scheme://host:port/base-path/"
        raise wrong(str(error), hint) from error


def _host(value: str) -> str:
    try:
        return parse_host(value.removeprefix("[").removesuffix("]") if ":" in value else value)
    except WrongUrl as error:
        raise wrong(str(error), "a host alone: no scheme, port or path") from error


def _path(value: str) -> str:
    if not value or "\x00" in value:
        raise wrong("is no path")
    if value.startswith("~"):
        raise wrong("begins with ~, which is not expanded", "write the whole path")
    return value


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
LabelText = Annotated[str, StringConstraints(pattern=LABEL_PATTERN)]
Labels = dict[LabelText, LabelText]
Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Floor = Annotated[int, Field(ge=0, le=1_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Url = Annotated[str, AfterValidator(_url)]
Host = Annotated[str, AfterValidator(_host)]
FilePath = Annotated[str, AfterValidator(_path)]
_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})
Duration = Annotated[int, BeforeValidator(_duration(0)), _DURATION_SCHEMA]
"""Whole seconds; `0s` is allowed."""
Wait = Annotated[int, BeforeValidator(_duration(1)), _DURATION_SCHEMA]
"""Whole seconds, at least one."""
SettlingTime = Annotated[int, BeforeValidator(_duration(60)), _DURATION_SCHEMA]
ResyncTime = Annotated[int, BeforeValidator(_duration(15)), _DURATION_SCHEMA]
FailoverTime = Annotated[int, BeforeValidator(_duration(15, or_zero=True)), _DURATION_SCHEMA]
Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]


class Metadata(Part):
    """What a document is called."""

    name: Name
    """Unique among documents of its kind; lower-case letters, digits and hyphens."""


class Secret(Part):
    """Where a secret is to be found: exactly one of its fields. Never the secret itself."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    env: Annotated[str, StringConstraints(pattern=ENV_PATTERN)] | None = None
    """Name of an environment variable of the controller."""
    file: FilePath | None = None
    """Path of a file; relative to this manifest's folder. A line break at its end is dropped."""
    ciphertext: Annotated[str, StringConstraints(pattern=CIPHERTEXT_PATTERN)] | None = None
    """The secret, encrypted with this installation's key."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_plain_text(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise wrong(
                "is a secret in plain text",
                "write {env: NAME} or {file: PATH}, and change this secret: it was seen",
            )
        return value

    @model_validator(mode="after")
    def _refuse_none_or_two(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise wrong("must hold exactly one of env, file and ciphertext")
        return self
