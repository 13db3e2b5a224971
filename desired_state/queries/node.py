"""One node: the validated connection to its panel, and what a person wants to see of it.

`node_target` is the one place where an address and credentials become a connection.
Callers: the controller (`node_target`), entrances (the rest). Not here: writing, panels.
"""

import hashlib
import hmac

from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName
from desired_state.model.node import Credentials, Node, NodeTarget
from desired_state.model.ownership import Ownership
from desired_state.store.convert import node_from
from desired_state.store.errors import SecretUnreadable
from desired_state.store.installation import read_ownership
from desired_state.store.secrets import Vault, resolve_credentials
from desired_state.store.tables.desired import NodeRow


class TargetUnresolved(ConfigError):
    """A secret of a declared node cannot be had, so its panel cannot be reached.

    `target`: everything else that is known, without credentials: fit for a status, not for a panel.
    """

    code = "target_unresolved"

    def __init__(self, message: str, target: NodeTarget, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.target = target


async def node_target(session: AsyncSession, name: NodeName, vault: Vault) -> NodeTarget:
    """Yield what reaches a node's panel, as it is declared now.

    Args:
        session: any transaction.
        name: of the node.
        vault: opens ciphertexts and the installation's secret.

    Returns:
        Credentials resolved, and the stricter of the declared mode and the operator's.

    Raises:
        TargetUnresolved: a secret reference is missing; names the node, the field and the reference.
        ConfigError: no such node is declared.
        StoreUnprepared: the database has no installation.
    """
    row = await session.get(NodeRow, name)
    if row is None:
        raise ConfigError(f"no node {name} is declared", hint="x3fleet nodes list shows them")
    return build_target(node_from(row), vault, await read_ownership(session, vault))


def build_target(node: Node, vault: Vault, ownership: Ownership) -> NodeTarget:
    """Resolve a node's secrets; `node_target` for callers that hold the node already.

    Raises:
        TargetUnresolved: as `node_target`.
    """
    spec = node.spec
    bare = NodeTarget(node.name, spec.url, Credentials(), spec.tls, node.mode)
    try:
        credentials = resolve_credentials(spec.auth, vault)
    except (ConfigError, SecretUnreadable) as error:
        message = f"node {node.name}: {error.message}"
        raise TargetUnresolved(message, bare, hint=error.hint) from error
    fingerprint = _fingerprint(ownership, spec.url, credentials)
    return NodeTarget(node.name, spec.url, credentials, spec.tls, node.mode, fingerprint)


def _fingerprint(ownership: Ownership, url: str, credentials: Credentials) -> str:
    """Digest credentials under the oldest secret that there is, which no rotation changes.

    The address is part of it: what one panel refused, another one may accept.
    """
    parts = (
        url, credentials.token, credentials.username, credentials.password,
        credentials.totp_secret, credentials.login_secret,
    )  # fmt: skip
    text = "\x00".join("-" if part is None else f"+{part}" for part in parts)
    secret = ownership.secrets[-1].value
    return hmac.new(secret, f"x3fleet/credentials/{text}".encode(), hashlib.sha256).hexdigest()
