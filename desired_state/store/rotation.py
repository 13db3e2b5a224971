"""Rotation of encryption keys: every sealed column is encrypted anew, in batches.

Callers: `x3fleet secrets rotate`. What the secrets say does not change, so no revision is taken and
no mark or credential on a panel changes. Not here: making keys, rotating a key of a person.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.store.engine import Store
from desired_state.store.secrets import Place, Vault
from desired_state.store.tables import adoption, desired, status
from desired_state.store.tables.types import Base, DesiredRow, Sealed, SealedText, StatusRow

BATCH = 500
"""Rows in one transaction: some 30 ms of decrypting, so that other writers hardly notice."""

MODULES = (adoption, desired, status)
"""Where mappers are made: a table whose module nobody has imported would be passed over in silence."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How many secrets were looked at, and how many of them were of an older key."""

    seen: int
    renewed: int


async def rotate_secrets(
    store: Store, group: type[DesiredRow | StatusRow] | None = None, *, batch: int = BATCH
) -> Rotation:
    """Encrypt every secret with the newest key; may be interrupted and repeated.

    Args:
        store: opened with the new key first and every older one behind it.
        group: `DesiredRow` or `StatusRow` for a role that may write but one of them; None: both.
        batch: rows in one transaction.

    Raises:
        SecretUnreadable: names the first place that no configured key opens; what was renewed
        stays.
    """
    seen = renewed = 0
    for table in _sealed_tables(group or Base):
        after: tuple[Any, ...] | None = None
        while True:
            async with store.recording() as session:
                rows = await _next_rows(session, table, after, batch)
                for row in rows:
                    for place, sealed in _secrets_of(row):
                        seen += 1
                        renewed += _renew(row, place, sealed, store.vault)
            if len(rows) < batch:
                break
            after = _identity(rows[-1])
    return Rotation(seen, renewed)


def _renew(row: Base, place: Place, sealed: Sealed, vault: Vault) -> bool:
    if vault.is_newest(sealed):
        vault.open(sealed, place)
        return False
    setattr(row, place.field, vault.renew(sealed, place))
    return True


async def _next_rows(
    session: AsyncSession, table: type[Base], after: tuple[Any, ...] | None, batch: int
) -> list[Base]:
    columns = inspect(table).primary_key
    query = select(table).order_by(*columns).limit(batch)
    if after is not None:
        query = query.where(tuple_(*columns) > after)
    return list(await session.scalars(query))


def _sealed_tables(root: type[Base]) -> Iterator[type[Base]]:
    for mapper in Base.registry.mappers:
        if issubclass(mapper.class_, root) and any(_fields(mapper.class_)):
            yield mapper.class_


def _fields(table: type[Base]) -> Iterator[str]:
    for attribute in inspect(table).column_attrs:
        if isinstance(attribute.columns[0].type, SealedText):
            yield attribute.key


def _secrets_of(row: Base) -> Iterator[tuple[Place, Sealed]]:
    identity = "/".join(str(part) for part in _identity(row))
    for field in _fields(type(row)):
        sealed = getattr(row, field)
        if sealed is not None:
            yield Place(row.__tablename__, identity, field), sealed


def _identity(row: Base) -> tuple[Any, ...]:
    return tuple(inspect(type(row)).primary_key_from_instance(row))
