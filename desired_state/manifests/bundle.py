"""A bundle: everything that one revision of the manifests declares, as values of the model.

Made by `load_bundle` from valid documents; applied by `desired_state.commands.manifests`.
Not here: YAML, places in files, resolved secrets, the database.
"""

from dataclasses import dataclass

from desired_state.model.inbound import InboundSpec
from desired_state.model.node import NodeSpec
from desired_state.model.policy import Policy
from desired_state.model.tariff import Tariff


@dataclass(frozen=True, slots=True)
class Bundle:
    """All documents of one source at one revision: each tuple is sorted by name, names are unique.

    `email_template` None: no policy sets one. `revision` identifies the content (a digest in hex,
    or a commit). `source` says where it came from, to be shown.
    """

    nodes: tuple[NodeSpec, ...] = ()
    tariffs: tuple[Tariff, ...] = ()
    policies: tuple[Policy, ...] = ()
    inbounds: tuple[InboundSpec, ...] = ()
    email_template: str | None = None
    revision: str = ""
    source: str = ""
