"""Declared inbounds of a bundle that would be in the way of others that stand in the database.

Two that share a node share neither tag nor remark, which they are known by, nor a port. Manifests of one
bundle are checked among themselves before (`manifests.inbound_rules`). Called by `commands.inbounds`.
Pure. Not here: inbounds that nobody declared, which only a look shows.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from desired_state.commands.errors import Conflict
from desired_state.model.ids import NodeName
from desired_state.model.inbound import InboundSpec
from desired_state.model.tariff import Labels


@dataclass(frozen=True, slots=True)
class Standing:
    """Another declared inbound. `source`: who declares it. `stands`: the nodes that have it, or may.

    `leaving`: nobody declares it any more, or not after this bundle.
    """

    spec: InboundSpec
    source: str
    stands: frozenset[NodeName]
    leaving: bool

    def nodes(self, labels: Mapping[NodeName, Labels]) -> frozenset[NodeName]:
        """Return the nodes that have it, and those that are to."""
        return self.stands if self.leaving else self.stands | _covered(self.spec, labels)


def check_clashes(
    specs: Iterable[InboundSpec],
    others: Iterable[Standing],
    labels: Mapping[NodeName, Labels],
) -> None:
    """Refuse what another one has on a node that both are to have.

    Args:
        specs: that are declared anew or otherwise than before.
        others: those that the bundle does not declare.
        labels: of every node, as they are after the bundle.

    Raises:
        Conflict: names both, what they share and the node.
    """
    known = tuple(others)
    for spec in specs:
        mine = _covered(spec, labels)
        for other in known:
            shared = mine & other.nodes(labels)
            word = _shared(spec, other.spec)
            if shared and word and not _hands_over(spec, other):
                raise _clash(spec, other, word, min(shared))


def _clash(spec: InboundSpec, other: Standing, word: str, node: NodeName) -> Conflict:
    if other.leaving:
        return Conflict(
            f"inbound {spec.name} has the {word} of inbound {other.spec.name}, which node {node} still has",
            hint="a renamed document keeps protocol, port, tag and remark; or give it others",
        )
    declared = f"which the manifests of {other.source} declare" if other.source else "declared too"
    return Conflict(
        f"inbound {spec.name} has the {word} of inbound {other.spec.name} on node {node}, {declared}",
        hint="give one of the two another one",
    )


def _covered(spec: InboundSpec, labels: Mapping[NodeName, Labels]) -> frozenset[NodeName]:
    return frozenset(node for node, some in labels.items() if spec.covers(some))


def _shared(one: InboundSpec, other: InboundSpec) -> str:
    """Name what both have; "" for nothing."""
    if one.tag == other.tag:
        return "tag"
    if one.remark == other.remark:
        return "remark"
    return "port" if one.port == other.port and _meet(one.listen, other.listen) else ""


def _hands_over(spec: InboundSpec, other: Standing) -> bool:
    """Whether it is the same inbound under another name: a node gives it from one to the other."""
    return other.leaving and _identity(spec) == _identity(other.spec)


def _identity(spec: InboundSpec) -> tuple[object, ...]:
    return spec.protocol, spec.port, spec.tag, spec.remark


def _meet(one: str, other: str) -> bool:
    return one == other or _is_everywhere(one) or _is_everywhere(other)


def _is_everywhere(listen: str) -> bool:
    try:
        return not listen or ip_address(listen).is_unspecified
    except ValueError:  # a name of a host
        return False
