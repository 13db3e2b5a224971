"""Which panel this is: family and version, as exactly as it tells them.

Called by `PanelApi.connect`, before and after the login. Not here: the login itself, and what a version
can do (`controller.core.features`).
"""

from dataclasses import dataclass

from controller.core.features import Features, Version
from controller.core.observed import XrayState


@dataclass(frozen=True, slots=True)
class PanelInfo:
    """What connecting found out.

    `version_text`: exact (`3.2.8`, `2.9.4`) where the panel tells it, else the range that its behaviour
    allows (`2.8.4 to 2.9.4`). `version`: the exact one, or the oldest of the range: what is not certain
    is taken as missing. `features`: of that version. `guid`: from 3.3.0. `xray`: as of this connect, not
    asked (UNKNOWN) on 2.x. `unverified_version`: newer than what was ever tried, or unreadable.
    """

    version_text: str
    version: Version
    features: Features
    guid: str | None = None
    xray: XrayState = XrayState.UNKNOWN
    unverified_version: bool = False
