"""What a person may ask the controller to do, since only it talks to panels.

Callers: commands (ask), core (does). Not here: answers, tokens.
"""

from enum import StrEnum


class RequestKind(StrEnum):
    """The kinds of requests to the controller."""

    RECONCILE = "reconcile"
    """Look now, whatever the back-off says."""
    PROBE = "probe"
    """Look, and write nothing."""
    TEST = "connection test"
    """Reach the panel as if for the first time, logging in anew, and write nothing."""
    INVENTORY = "inventory"
    """Look, and keep what the panel holds for a while, so that it can be adopted; write nothing there."""
    REMATCH = "rematch"
    """Resolve the declared match anew and bind what it finds."""
    REBIND = "rebind"
    """Accept the panel that answers now as this node's panel."""
    PREVIEW = "rebuild preview"
    """Look, and tell what a rebuild would bind and create; write nothing."""
    REBUILD = "rebuild"
    """Accept the panel that was shown, and create everything that it lost."""
    RESUME = "resume"
    """Try refused credentials once more."""
    BACKUP = "backup"
    """Make a backup, with the databases of these panels; asked of the installation, and of no node."""


WHOLE = ""
"""In the place of a node's name: the installation as a whole is asked, and answers once."""
