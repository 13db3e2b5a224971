"""Addresses below a panel's base path: checked once, joined without double or trailing slashes.

Callers: `channel` (joins), dialects (`segment`). Not here: which paths exist.
"""

from urllib.parse import quote


def segment(text: str) -> str:
    """Encode one path segment, such as an email: everything but letters, digits and `-._~+@`.

    `+` and `@` stay: panels read them literally. A `/` is encoded, and yet no panel finds it, since
    they match the decoded path: emails of ours never hold one.
    """
    return quote(text, safe="+@")


def join(base: str, path: str) -> str:
    """Put a path below a base address that ends with a slash; a query may follow a `?`.

    A trailing slash of the path is dropped: panels redirect a POST to such a path.
    """
    above, mark, query = path.partition("?")
    return base.rstrip("/") + "/" + above.strip("/") + mark + query
