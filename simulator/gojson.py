"""JSON as Go's encoder writes it and with the error texts of Go's decoder.

Callers: `settings` (stored texts), `wire` (answers), every handler that reads a body.
Not here: what the documents mean.
"""

import json
from typing import Any

Doc = dict[str, Any]

# Go's float64 prints without an exponent below this size, so whole floats become integers.
_PLAIN_FLOAT_LIMIT = 1e21


class GoJsonError(ValueError):
    """A text that Go's decoder refuses; the message is Go's."""


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < _PLAIN_FLOAT_LIMIT else value


def parse(text: str | bytes, *, stream: bool = False) -> Any:  # noqa: ANN401 - JSON is any
    """Decode a text.

    Args:
        text: the document.
        stream: a request body, whose decoder words a premature end differently.

    Raises:
        GoJsonError: with the sentence that the panel would put into its answer.
    """
    try:
        return json.loads(text, parse_float=_number)
    except UnicodeDecodeError as error:
        message = "invalid character '\\ufffd' looking for beginning of value"
        raise GoJsonError(message) from error
    except json.JSONDecodeError as error:
        raise GoJsonError(_decode_error(error, stream=stream)) from error


def _decode_error(error: json.JSONDecodeError, *, stream: bool) -> str:
    rest = error.doc[error.pos :].strip()
    if not error.doc.strip():
        return "EOF" if stream else "unexpected end of JSON input"
    if not rest or error.msg.startswith("Unterminated"):
        return "unexpected EOF" if stream else "unexpected end of JSON input"
    if error.msg == "Extra data":
        return f"invalid character '{rest[0]}' after top-level value"
    if error.msg.startswith("Expecting property name"):
        return f"invalid character '{rest[0]}' looking for beginning of object key string"
    return f"invalid character '{rest[0]}' looking for beginning of value"


def kind_of(value: object) -> str:
    """What Go's decoder calls a value of the wrong type."""
    names = {str: "string", bool: "bool", int: "number", dict: "object", list: "array"}
    return f"number {value}" if isinstance(value, float) else names.get(type(value), "null")


def escape(text: str) -> str:
    """Escape what Go's encoder escapes for HTML; these stand only inside strings."""
    if "<" in text or ">" in text or "&" in text:
        text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def compact(value: Any, *, sort: bool = False) -> str:  # noqa: ANN401 - JSON is any
    """Encode without spaces, as an answer's body."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort)
    return escape(text)


def indented(value: Any, depth: int = 0, *, sort: bool = True) -> str:  # noqa: ANN401 - JSON is any
    """Encode with two spaces a level, as a stored text; `depth` levels already stand outside."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value and not any(_has_members(x) for x in value.values()):
        # The flat objects of clients: 20 times faster than the encoder's own indentation.
        body = json.dumps(value, ensure_ascii=False, separators=(",\n" + pad, ": "), sort_keys=sort)
        return escape("{\n" + pad + body[1:-1] + "\n" + pad[2:] + "}")
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=sort)
    return escape(text).replace("\n", "\n" + pad[2:])


def _has_members(value: object) -> bool:
    return isinstance(value, list | dict) and bool(value)
