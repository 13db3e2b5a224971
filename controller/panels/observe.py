"""One look at one panel: an `Observation`, or why there is none. Never raises a `PanelError`.

Step 1 of a turn, and its proofs. One GET up to 3.0.2, three from 3.1.0 on. Callers: `panel`.
Not here: what the lists mean (`dialects`), what follows from them (`controller.core`).
"""

from dataclasses import dataclass
from datetime import datetime

from controller.core.features import parse_version
from controller.core.observed import NotObserved, Observation
from controller.panels.api.errors import PanelChanged, PanelContractBroken, PanelError
from controller.panels.api.session import PanelApi
from controller.panels.detect import PanelInfo
from controller.panels.dialects.choose import dialect_of
from controller.panels.dialects.dialect import SharedKeys, Sight


@dataclass(frozen=True, slots=True)
class Look:
    """An observation, and what it leaves for writes (see `Sight.shared_keys`)."""

    observation: Observation
    shared_keys: SharedKeys


async def observe(api: PanelApi, now: datetime, *, careful: bool = False) -> Look | NotObserved:
    """Look at a panel.

    A panel that was upgraded (or set back) since it was connected to is looked at again at once, in
    its new dialect.

    Args:
        api: of the node.
        now: for the moment before which another try is useless.
        careful: it did not answer lately, so one cheap call comes before login and lists.
    """
    try:
        if careful:
            await api.knock()
        try:
            return await _look(api)
        except (PanelChanged, PanelContractBroken):
            # Another shape is most often another version. If it is not, the second look says the
            # same.
            api.forget()
            return await _look(api)
    except PanelError as error:
        return error.to_not_observed(now)


async def _look(api: PanelApi) -> Look:
    info = await api.connect()
    sight = await dialect_of(info.features).look(api, info.features)
    told = parse_version(sight.version)
    if told is not None and told != info.version:
        raise PanelChanged(
            api.node,
            "observe",
            f"the panel was {info.version_text} and is {sight.version} now",
        )
    return Look(_observation(api, info, sight), sight.shared_keys)


def _observation(api: PanelApi, info: PanelInfo, sight: Sight) -> Observation:
    return Observation(
        node=api.node,
        version=info.version_text,
        features=info.features,
        inbounds=sight.inbounds,
        clients=sight.clients,
        guid=sight.guid,
        xray=sight.xray,
        clock_skew=api.clock_skew,
        certificate_until=api.certificate_until,
        unverified_version=info.unverified_version,
        torn=sight.torn,
        host=sight.host,
        requests=len(sight.answers),
        received_bytes=sum(answer.received_bytes for answer in sight.answers),
    )
