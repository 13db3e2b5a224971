"""How busy a panel's host is, where a look does not tell it: up to 3.0.2, one call beside the look.

Callers: `panel`, seldom, and only for those who weigh it. Not here: when it is asked, what follows.
"""

from controller.core.observed import HostLoad
from controller.panels.api.envelope import parse_envelope
from controller.panels.api.errors import PanelError
from controller.panels.api.session import PanelApi
from controller.panels.wire.answers import HostStatus

_MOVED_AT = (2, 7, 0)
"""Below it the status is asked for by POST, and not below `panel/api`."""


async def ask_host(api: PanelApi) -> HostLoad:
    """Ask a panel how busy its host is; empty where it does not say, or its version is not known."""
    try:
        info = await api.connect()
        if " to " in info.version_text:
            # Asked at the wrong path, a panel answers as if nobody were logged in.
            return HostLoad()
        method, path = ("GET", "panel/api/server/status")
        if info.version < _MOVED_AT:
            method, path = ("POST", "server/status")
        status = parse_envelope(await api.read(method, path), HostStatus).obj
    except PanelError:
        # It answered a look just now: whatever is wrong, the next look says it.
        return HostLoad()
    # Null while nobody has asked lately: the next time it is known.
    return HostLoad() if status is None else status.host
