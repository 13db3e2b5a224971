"""Where a key is served by now, as far as an old place of it may end on the word of that.

Used by `place` and its parts within one call: the journal says that a key was proved live on a node, the
node's state that it still serves, and whoever calls names the proofs that no look has confirmed since. Not
here: what ends (`moves`, `leave`, `surplus`, `balance`), looking.
"""

from collections.abc import Callable, Container, Iterable
from datetime import datetime

from desired_state.model.ids import KeyId, NodeName
from desired_state.scheduling.eligible import is_serving
from desired_state.scheduling.rooms import Rooms

FRESH_S = 15.0
"""A look that is older tells nothing of whether keys are served now."""
Live = Container[tuple[KeyId, NodeName]]
SeenAt = Callable[[NodeName], datetime | None]
"""Until when a recent look confirms what is recorded of a node; None: there was none."""


class Proofs:
    """Keys proved to live on nodes that serve them, by looks that are recent.

    Args:
        rooms: the nodes.
        live: keys proved to exist on nodes, however long ago.
        doubted: those of them that the last looks do not confirm.

    `asked`: nodes whose look would decide about something; they are to be looked at.
    """

    def __init__(self, rooms: Rooms, live: Live, doubted: Live) -> None:
        self._rooms = rooms
        self.live = live
        self._doubted = doubted
        self.asked: set[NodeName] = set()

    def hold(self, key: KeyId, nodes: Iterable[NodeName]) -> bool:
        """Tell whether a key is served on every one of these nodes."""
        # Not lazily: all that lack a look are asked for at once.
        held = [self._holds(key, name) for name in nodes]
        return all(held)

    def _holds(self, key: KeyId, name: NodeName) -> bool:
        room = self._rooms.by_name.get(name)
        if room is None or (key, name) not in self.live:
            return False
        if not is_serving(room.state, room.policy):
            return False
        if (key, name) not in self._doubted:
            return True
        self.asked.add(name)
        return False
