"""Rows of adoption to values of the model and back: the only place that knows both shapes.

Callers: `commands.adoption`, the controller. Not here: SQL, rules.
"""

import json
from collections.abc import Mapping
from typing import Any

from desired_state.model.adoption import AdoptedClient, FoundClient, Obstacle
from desired_state.model.credentials import ClientSecrets
from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName
from desired_state.store.secrets import Place, Vault
from desired_state.store.tables.adoption import AdoptionRow, FoundClientRow
from desired_state.store.tables.types import Sealed

_FACTS = (
    "flow", "enable", "expiry_ms", "total_bytes", "limit_ip", "tg_id", "reset", "comment", "group",
    "used_bytes",
)  # fmt: skip
_ADOPTED = (
    "flow", "expiry_ms", "total_bytes", "limit_ip", "quota_bytes", "devices", "tg_id", "comment",
    "group",
)  # fmt: skip


def found_place(node: str, number: int) -> Place:
    """Where the secrets of a found client are sealed."""
    return Place(FoundClientRow.__tablename__, f"{node}/{number}", "secrets")


def found_values(client: FoundClient, node: NodeName, number: int, vault: Vault) -> dict[str, Any]:
    """The columns of a found client but `found_at`."""
    secrets = {
        "uuid": client.secrets.uuid,
        "password": client.secrets.password,
        "auth": client.secrets.auth,
        "sub_id": client.sub_id,
    }
    return {
        "node": node,
        "number": number,
        "email": client.email,
        "facts": {
            **{name: getattr(client, name) for name in _FACTS},
            "inbound_ids": list(client.inbound_ids),
            "matched_ids": list(client.matched_ids),
            "needs": list(client.needs),
            "obstacle": client.obstacle.value,
        },
        "secrets": vault.seal(json.dumps(secrets).encode(), found_place(node, number)),
    }


def found_from(row: FoundClientRow, vault: Vault) -> FoundClient:
    """A found client from its row.

    Raises:
        SecretUnreadable: its secrets were sealed with other keys.
    """
    secrets = json.loads(vault.open(Sealed(row.secrets.token), found_place(row.node, row.number)))
    sub_id = secrets.pop("sub_id")
    facts = row.facts
    return FoundClient(
        email=Email(row.email),
        inbound_ids=_ids(facts["inbound_ids"]),
        matched_ids=_ids(facts["matched_ids"]),
        secrets=ClientSecrets(**secrets),
        needs=tuple(facts["needs"]),
        sub_id=sub_id,
        obstacle=Obstacle(facts["obstacle"]),
        **{name: facts[name] for name in _FACTS},
    )


def adopted_facts(client: AdoptedClient) -> dict[str, Any]:
    """The `facts` of an adoption."""
    return {
        "inbound_ids": list(client.inbound_ids),
        **{name: getattr(client, name) for name in _ADOPTED},
    }


def adopted_from(row: AdoptionRow | Mapping[str, Any]) -> AdoptedClient:
    """An adopted client from its row, or from its columns by name."""
    values = row if isinstance(row, Mapping) else _columns(row)
    facts = values["facts"]
    return AdoptedClient(
        node=NodeName(values["node"]),
        email=Email(values["email"]),
        key=KeyId(values["key_id"]),
        inbound_ids=_ids(facts["inbound_ids"]),
        sub_id=values["sub_id"],
        secrets_digest=values["secrets_digest"],
        generation=Generation(values["generation"]),
        **{name: facts[name] for name in _ADOPTED},
    )


def _columns(row: AdoptionRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in AdoptionRow.__table__.columns}


def _ids(numbers: list[int]) -> tuple[InboundId, ...]:
    return tuple(InboundId(number) for number in numbers)
