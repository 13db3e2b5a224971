"""The three PostgreSQL roles, and what each may: the front-end, the controller, the subscription page.

Whoever connects as a member of one cannot do more than its part, whatever its code does. Callers:
`x3fleet db grants`, as the owner of the tables, after `db upgrade`; a restore, which gives the rights
on the restored tables and takes those on the old ones. Not here: logins and passwords, which
are the operator's; SQLite, which has no roles.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from desired_state.model.errors import ConfigError
from desired_state.store.engine import Store, translated
from desired_state.store.errors import StoreError
from desired_state.store.tables.types import DESIRED, STATUS
from desired_state.store.version import VERSION_TABLE

SERVED = {
    DESIRED: (
        VERSION_TABLE, "installation", "key", "key_generation", "node", "policy",
        "revision_counter", "subscription", "tariff",
    ),
    STATUS: ("inbound", "key_usage", "node_status", "placement", "remote_generation"),
}  # fmt: skip
"""All that the subscription page reads: no people, no payments, no accounts, no audit."""
SEES = (
    f"SELECT, INSERT, UPDATE, DELETE ON {DESIRED}.device",
    # A write takes the next revision and says in the audit what it was: lines to add, none to read.
    f"UPDATE (value) ON {DESIRED}.revision_counter",
    f"INSERT, SELECT (id) ON {DESIRED}.audit_event",
    f"USAGE ON SEQUENCE {DESIRED}.audit_event_id_seq",
)
"""What it writes: the devices that a subscription is fetched with (`commands.devices.see`)."""
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_WRITES = "INSERT, UPDATE, DELETE"


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of the roles; they hold for the whole server, so two installations have two prefixes."""

    prefix: str = "x3fleet"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.prefix):
            raise ConfigError(
                "a prefix of roles is lower-case letters, digits and underscores, 41 at most"
            )

    @property
    def front_end(self) -> str:
        """Writes desired state, reads status: bot, admin, cli, sync."""
        return f"{self.prefix}_front_end"

    @property
    def controller(self) -> str:
        """Writes status, reads desired state."""
        return f"{self.prefix}_controller"

    @property
    def subscription(self) -> str:
        """Reads what it serves, and remembers the devices that ask for it."""
        return f"{self.prefix}_subscription"

    @property
    def all(self) -> tuple[str, ...]:
        """The three of them."""
        return self.front_end, self.controller, self.subscription


def grants(roles: Roles) -> tuple[str, ...]:
    """Make the statements, to be run in one transaction; running them again changes nothing.

    They take away first, so that what an older release gave too much is gone afterwards. Tables that a later
    migration makes are covered by the owner's default privileges, but for the subscription page: what
    that may read is named one by one.
    """
    return (
        *(_create(role) for role in roles.all),
        f"REVOKE ALL ON SCHEMA {DESIRED}, {STATUS} FROM PUBLIC",
        f"GRANT USAGE ON SCHEMA {DESIRED}, {STATUS} TO {', '.join(roles.all)}",
        *_revoke(", ".join(("PUBLIC", *roles.all))),
        *_writes(DESIRED, roles.front_end, reads=roles.controller),
        *_writes(STATUS, roles.controller, reads=roles.front_end),
        # Which migrations were applied is told by them alone.
        f"REVOKE {_WRITES} ON {DESIRED}.{VERSION_TABLE} FROM {roles.front_end}",
        *(
            f"GRANT SELECT ON {schema}.{table} TO {roles.subscription}"
            for schema, tables in SERVED.items()
            for table in tables
        ),
        *(f"GRANT {right} TO {roles.subscription}" for right in SEES),
        _later(roles, DESIRED, STATUS),
    )


async def apply_grants(store: Store, roles: Roles) -> None:
    """Make the roles and give each its part, in one transaction, and prove that it was given.

    Raises:
        ConfigError: the database is SQLite, which has no roles.
        StoreError: whoever is connected may not do this; nothing was changed.
    """
    if store.is_sqlite:
        raise ConfigError(
            "SQLite has no roles", hint="set X3FLEET_DATABASE__URL to a PostgreSQL database"
        )
    with translated():
        async with store.engine.begin() as connection:
            await give(connection, roles)


async def give(connection: AsyncConnection, roles: Roles) -> None:
    """Give each role its part, in the caller's transaction, and prove that it was given.

    Raises:
        StoreError: whoever is connected may not do this; the transaction is to be ended.
    """
    for statement in grants(roles):
        await connection.execute(text(statement))
    await connection.run_sync(_prove, roles)


async def granted(connection: AsyncConnection) -> tuple[Roles, ...]:
    """Read which sets of roles were given their parts here, sorted by their prefix."""
    found = await connection.scalars(_GRANTED, {"desired": DESIRED, "status": STATUS})
    names = frozenset(found)
    ends = f"_{Roles().front_end.removeprefix(f'{Roles().prefix}_')}"
    prefixes = (name.removesuffix(ends) for name in sorted(names) if name.endswith(ends))
    sets = (Roles(prefix) for prefix in prefixes if _NAME.fullmatch(prefix))
    return tuple(roles for roles in sets if names.issuperset(roles.all))


async def take_away(connection: AsyncConnection, roles: Roles, desired: str, status: str) -> None:
    """Take every right on schemas that were put aside, those on tables to come too.

    Args:
        connection: of their owner, in a transaction.
        roles: from whom; PUBLIC loses them as well.
        desired: what the one schema is called now.
        status: what the other is.
    """
    every = ", ".join(("PUBLIC", *roles.all))
    schemas = f"{desired}, {status}"
    for things in ("ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA", "SCHEMA"):
        await connection.execute(text(f"REVOKE ALL ON {things} {schemas} FROM {every}"))
    await connection.execute(text(_later(roles, desired, status, gives=False)))


def _create(role: str) -> str:
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}')"
        f" THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
    )


def _revoke(roles: str) -> Iterator[str]:
    for things in ("TABLES", "SEQUENCES"):
        yield f"REVOKE ALL ON ALL {things} IN SCHEMA {DESIRED}, {STATUS} FROM {roles}"


def _writes(schema: str, writer: str, *, reads: str) -> Iterator[str]:
    yield f"GRANT SELECT, {_WRITES} ON ALL TABLES IN SCHEMA {schema} TO {writer}"
    yield f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {writer}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reads}"


def _later(roles: Roles, desired: str, status: str, *, gives: bool = True) -> str:
    """For tables to come: of whoever owns those that are there, who makes the next ones too."""
    grant, to = ("GRANT", "TO") if gives else ("REVOKE", "FROM")
    lines = []
    for schema, writer, reader in (
        (desired, roles.front_end, roles.controller),
        (status, roles.controller, roles.front_end),
    ):
        start = f"ALTER DEFAULT PRIVILEGES FOR ROLE %1$I IN SCHEMA {schema} {grant}"
        lines += [
            f"{start} SELECT, {_WRITES} ON TABLES {to} {writer}",
            f"{start} USAGE ON SEQUENCES {to} {writer}",
            f"{start} SELECT ON TABLES {to} {reader}",
        ]
    runs = " ".join(f"EXECUTE format('{line}', owner);" for line in lines)
    owner = f"SELECT tableowner FROM pg_tables WHERE schemaname = '{desired}' LIMIT 1"  # noqa: S608  # our own name
    return f"DO $$ DECLARE owner name := ({owner}); BEGIN {runs} END $$"


def _prove(connection: Connection, roles: Roles) -> None:
    """A GRANT by somebody who may not give is a warning to PostgreSQL, and would pass unseen."""
    missing = connection.execute(
        _MISSING,
        {
            "front_end": roles.front_end,
            "controller": roles.controller,
            "desired": DESIRED,
            "status": STATUS,
            "version": VERSION_TABLE,
        },
    ).scalar()
    if missing:
        raise StoreError(
            f"the rights on {missing} tables could not be given",
            hint="connect as the owner of the tables: whoever ran x3fleet db upgrade",
        )


_GRANTED = text(
    "SELECT DISTINCT r.rolname FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) a"
    " JOIN pg_roles r ON r.oid = a.grantee"
    " WHERE n.nspname IN (:desired, :status) AND a.privilege_type = 'USAGE'"
)
_MISSING = text(
    "SELECT count(*) FROM pg_tables t"
    " CROSS JOIN LATERAL (SELECT format('%I.%I', t.schemaname, t.tablename) AS name) n"
    " CROSS JOIN LATERAL (SELECT CASE t.schemaname WHEN :desired THEN CAST(:front_end AS name)"
    " ELSE CAST(:controller AS name) END AS writer, CASE t.schemaname WHEN :desired"
    " THEN CAST(:controller AS name) ELSE CAST(:front_end AS name) END AS reader) r"
    " WHERE t.schemaname IN (:desired, :status) AND t.tablename <> :version"
    " AND (NOT has_table_privilege(r.writer, n.name, 'INSERT')"
    " OR has_table_privilege(r.reader, n.name, 'UPDATE')"
    " OR NOT has_table_privilege(r.reader, n.name, 'SELECT'))"
)
