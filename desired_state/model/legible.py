"""Foreign text made safe to show: what would steer a terminal, or hide in it, is written out instead.

A panel chooses its tags, remarks, identity and version, and anybody who can edit it may put escape
sequences or marks of writing direction there. Stored values stay as they are. Callers: whatever shows
text to people, and errors that repeat a panel's sentence. Not here: cutting, masking of secrets.
"""

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control, format (direction, invisible), half of a pair, line and paragraph separators."""
_JOINERS = "\u200c\u200d"
"""Of format characters those that ordinary words (Persian) and emoji are written with."""


def legible(text: str, *, keep: str = "") -> str:
    r"""Write characters that are not for showing as `\x1b`, `\u202e` or `\U000e0001`.

    Args:
        text: anybody's.
        keep: what may pass although it is unsafe: line ends in a text of several lines.
    """
    # One look in C, and nearly every text is fine.
    if text.isprintable():
        return text
    kept = keep + _JOINERS
    return "".join(_written(one) if is_unsafe(one) and one not in kept else one for one in text)


def legible_json(line: str) -> str:
    r"""Write such characters in a line of JSON as `\u009b`: in it they stand in strings only."""
    if line.isprintable():
        return line
    return "".join(_json(one) if is_unsafe(one) and one not in _JOINERS else one for one in line)


def is_unsafe(character: str) -> bool:
    """Tell whether a character steers or hides instead of showing."""
    return unicodedata.category(character) in _UNSAFE


def _written(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (units[start : start + 2] for start in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04x}" for pair in pairs)
