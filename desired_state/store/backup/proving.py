"""Unpacking a backup into a scratch folder and proving that what comes out is a database of ours.

The same steps begin a restore and are all of `backup verify`. Callers: `commands.restore`, `x3fleet backup
verify`. Not here: putting it in anybody's place.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Table, func, select, table
from sqlalchemy.ext.asyncio import AsyncSession

from desired_state.store import migrate
from desired_state.store.backup.archive import unpack
from desired_state.store.backup.contents import Contents
from desired_state.store.backup.copying import count_rows, tables
from desired_state.store.backup.errors import BackupBroken
from desired_state.store.backup.keys import BackupKey
from desired_state.store.backup.scratch import opened_scratch, scratch_folder
from desired_state.store.backup.snapshot import check_whole
from desired_state.store.engine import Store
from desired_state.store.installation import read_ownership
from desired_state.store.secrets import Place, Vault
from desired_state.store.tables.types import Base, Sealed
from desired_state.store.version import read_version

AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A backup in a scratch folder. `store`: its database, at this release's version of the tables.

    `rows`: of every table, as counted in it.
    """

    folder: Path
    path: Path
    contents: Contents
    store: Store
    rows: Mapping[str, int]


@asynccontextmanager
async def unpacked(
    backup: Path, keys: tuple[BackupKey, ...], vault: Vault, beside: Path
) -> AsyncIterator[Unpacked]:
    """Unpack a backup, prove its database whole and complete, and bring it to this release.

    Args:
        backup: the file.
        keys: one of them opens it.
        vault: opens the secrets in its database.
        beside: the folder on whose disk it is unpacked.

    Raises:
        BackupBroken: it is damaged, or rows are missing.
        StoreNewer: it is of a newer release.
        SecretUnreadable: its database was sealed with other encryption keys.
        BackupError: it could not be read or unpacked.
    """
    with scratch_folder(beside) as folder:
        contents = await asyncio.to_thread(unpack, backup, keys, folder)
        path = folder / contents.database.member
        await asyncio.to_thread(check_whole, path)
        async with opened_scratch(path, vault) as store:
            await _check_complete(store, contents)
            await migrate.upgrade(store)
            async with store.reading() as session:
                rows = await count_rows(await session.connection())
                await read_ownership(session, vault)
            yield Unpacked(folder, path, contents, store, rows)


async def read_everything(store: Store, *, at_once: int = AT_ONCE) -> Mapping[str, int]:
    """Load every row of every table as an object, and open every secret.

    Args:
        store: the database.
        at_once: rows that are in memory at a time.

    Returns:
        `rows` and `secrets`: how many there were.

    Raises:
        SecretUnreadable: names the first place that no configured key opens.
        StoreError: a row cannot be loaded.
    """
    rows = secrets = 0
    tables()
    async with store.reading() as session:
        for mapper in sorted(Base.registry.mappers, key=lambda one: one.class_.__name__):
            read, opened = await _read_table(session, mapper.class_, store.vault, at_once)
            rows, secrets = rows + read, secrets + opened
    return {"rows": rows, "secrets": secrets}


async def _read_table(
    session: AsyncSession, row: type[Base], vault: Vault, at_once: int
) -> tuple[int, int]:
    read = opened = 0
    columns = cast("Table", row.__table__)
    found = await session.stream_scalars(select(row), execution_options={"yield_per": at_once})
    async for some in found.partitions(at_once):
        for one in some:
            read += 1
            identity = "/".join(str(getattr(one, key.name)) for key in columns.primary_key)
            for column in columns.columns:
                value = getattr(one, column.name)
                if isinstance(value, Sealed):
                    vault.open(value, Place(columns.name, identity, column.name))
                    opened += 1
    return read, opened


async def _check_complete(store: Store, contents: Contents) -> None:
    """Compare version and rows with the list, before anything of it is migrated."""
    async with store.engine.connect() as connection:
        schema = await connection.run_sync(read_version)
        if schema != contents.schema:
            raise BackupBroken(f"its database is at {schema}, and its list says {contents.schema}")
        for name, rows in sorted(contents.tables.items()):
            # Of an older release there may be tables that none of ours is called.
            found = await connection.scalar(select(func.count()).select_from(table(name)))
            if found != rows:
                raise BackupBroken(
                    f"its table {name} has {found} rows, and {rows} were counted when it was made"
                )
