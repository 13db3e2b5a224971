"""The PostgreSQL roles: what each login is refused, and that each part works with no more than its own.

Real logins on a real server: every statement here is tried, none is only looked up.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import event, make_url, select, text

from controller.daemon import Daemon
from controller.parts import equip
from controller.service import open_controller
from controller.settings import ControllerSettings, MetricsSettings, ServiceSettings
from desired_state.commands import devices, installation, keys, manifests, nodes, requests
from desired_state.commands.restore import Order, restore
from desired_state.commands.retention import prune
from desired_state.commands.settings import PruneSettings
from desired_state.commands.sync import ManifestSync
from desired_state.manifests.settings import SyncSettings
from desired_state.model.device import identify_device
from desired_state.model.errors import ConfigError
from desired_state.model.ids import NodeName, TariffName
from desired_state.model.node import AuthRefs, SecretRef
from desired_state.model.request import RequestKind
from desired_state.queries.fleet import list_nodes
from desired_state.queries.sources import list_sources
from desired_state.store import migrate, version
from desired_state.store.backup.keys import read_keys
from desired_state.store.backup.making import make_backup, nothing_fetched
from desired_state.store.engine import Store
from desired_state.store.errors import StoreError
from desired_state.store.roles import SERVED, Roles, apply_grants, grants
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow
from desired_state.store.tables.types import DESIRED, STATUS, Base
from desired_state.store.unit_of_work import begin
from simulator import by_hand
from simulator.app import PanelOptions, create_panel
from simulator.control import view_panel
from simulator.server import running
from tests.builders import make_bundle, make_node_spec, make_selector, make_tariff
from tests.contract.store.test_who_writes import use_every_command
from tests.data.datasets import DATASETS, MONTH, NL1
from tests.data.rows import apply, place, set_status
from tests.integration.runtime.serving import EAGER, eventually
from tests.stores import KEY, Databases, make_ready, opened, run_apart, settings_for

PREFIX = f"x3t{os.getpid()}"
ROLES = Roles(PREFIX)
PASSWORD = "a-login-of-a-test"
PARTS = ("front_end", "controller", "subscription")


@pytest.fixture
def backend() -> str:
    """SQLite has no roles; its authorizer proves the same of each part elsewhere."""
    return "postgresql"


@dataclass(frozen=True)
class Logins:
    """A prepared database, and its URL as the owner and as a member of each role."""

    owner: str

    def of(self, part: str) -> str:
        user = f"{PREFIX}_login_{part}"
        url = make_url(self.owner).set(username=user, password=PASSWORD)
        return url.render_as_string(hide_password=False)

    def connect(self, part: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.of(part), autocommit=True)


@pytest.fixture(scope="module")
def server_roles(postgres_url: str) -> Iterator[None]:
    """Take the roles away behind the module: they belong to the server, not to a database."""
    yield
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [f"{PREFIX}\\_%"]
        ).fetchall()
        # Logins first: they are members of the others.
        for (name,) in sorted(found, key=lambda row: "_login_" not in row[0]):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
async def logins(server_roles: None, databases: Databases) -> Logins:
    """Make a database whose roles have their parts, and a login of each."""
    owner = databases.copy()
    async with opened(owner) as store:
        await apply_grants(store, ROLES)
    with psycopg.connect(owner, autocommit=True) as connection:
        for part in PARTS:
            login = sql.Identifier(f"{PREFIX}_login_{part}")
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(login))
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    login, sql.Literal(PASSWORD), sql.Identifier(getattr(ROLES, part))
                )
            )
    return Logins(owner)


@asynccontextmanager
async def open_as(logins: Logins, part: str) -> AsyncIterator[tuple[Store, list[str]]]:
    """Open the database as a part; every refusal of the server is kept, whoever swallows it."""
    async with opened(logins.of(part)) as store:
        yield store, watched(store)


def watched(store: Store) -> list[str]:
    refused: list[str] = []

    def look(context: object) -> None:
        error = getattr(context, "original_exception", None)
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            refused.append(f"{error}".splitlines()[0])

    event.listen(store.engine.sync_engine, "handle_error", look)
    return refused


# -- what each may, statement by statement ---------------------------------------------------------

TABLES = sorted((str(t.schema), t.name, t.columns.keys()[0]) for t in Base.metadata.sorted_tables)
VERSION = (DESIRED, "alembic_version", "version_num")
READS, WRITES = {"select"}, {"insert", "update", "delete", "lock row", "lock table"}
STATEMENTS = {
    "select": "SELECT 1 FROM {table} LIMIT 1",
    "insert": "INSERT INTO {table} SELECT * FROM {table} WHERE false",
    "update": "UPDATE {table} SET {column} = {column} WHERE false",
    "delete": "DELETE FROM {table} WHERE false",
    # Nobody may make a command wait: a lock needs a right to write.
    "lock row": "SELECT 1 FROM {table} FOR UPDATE",
    "lock table": "LOCK TABLE {table} IN ROW EXCLUSIVE MODE",
    "truncate": "TRUNCATE {table}",
    "drop": "DROP TABLE {table}",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON {table} EXECUTE FUNCTION"
    " suppress_redundant_updates_trigger()",
}


def allowed(part: str, schema: str, table: str) -> set[str]:
    """Write down, independently of the grants, what each part is there for."""
    if part == "subscription":
        if table == "device":
            return READS | WRITES
        # The revision is one column of the counter: a row is locked by whoever may change any of it.
        if table == "revision_counter":
            return READS | {"lock row"}
        # Lines are added, and their ids read back: how many there are, but nothing of what they say.
        if table == "audit_event":
            return READS | {"lock table"}
        return READS if table in SERVED[schema] else set()
    writes = {"front_end": DESIRED, "controller": STATUS}[part]
    if table == "alembic_version" or schema != writes:
        return READS
    return READS | WRITES


@pytest.mark.parametrize("part", PARTS)
def test_each_login_may_do_its_part_and_is_refused_everything_else(
    logins: Logins, part: str, report_count
) -> None:
    tried = 0
    with logins.connect(part) as connection:
        for schema, table, column in [*TABLES, VERSION]:
            done = {
                name
                for name, statement in STATEMENTS.items()
                if succeeds(connection, statement, schema, table, column)
            }
            tried += len(STATEMENTS)
            assert allowed(part, schema, table) == done, f"{schema}.{table}"
    report_count({"statements tried as a role": tried})


def succeeds(
    connection: "psycopg.Connection[tuple[object, ...]]",
    statement: str,
    schema: str,
    table: str,
    column: str,
) -> bool:
    command = sql.SQL(statement).format(
        table=sql.Identifier(schema, table), column=sql.Identifier(column)
    )
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(command)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("part", PARTS)
def test_no_login_makes_tables_or_functions_in_our_schemas(logins: Logins, part: str) -> None:
    """A table of one's own in front of ours could catch what others write."""
    with logins.connect(part) as connection:
        for schema in (DESIRED, STATUS):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"CREATE TABLE {schema}.mine (id int)".encode())


def test_a_login_without_a_role_sees_nothing(logins: Logins) -> None:
    """What everybody on the server may is taken away too."""
    name = f"{PREFIX}_login_stranger"
    with psycopg.connect(logins.owner, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'".encode())
        connection.execute("GRANT SELECT ON desired.node TO PUBLIC")
        for statement in grants(ROLES):
            connection.execute(statement.encode())

    with (
        logins.connect("stranger") as stranger,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        stranger.execute("SELECT * FROM desired.node")


def test_every_served_table_exists_and_holds_no_people() -> None:
    served = {(schema, table) for schema, tables in SERVED.items() for table in tables}

    assert served <= {(schema, table) for schema, table, _ in [*TABLES, VERSION]}
    assert not {"person", "request", "audit_event", "plan_approval"} & {t for _, t in served}


async def test_tables_of_a_later_migration_are_covered(logins: Logins) -> None:
    with psycopg.connect(logins.owner, autocommit=True) as owner:
        for schema in (DESIRED, STATUS):
            owner.execute(f"CREATE TABLE {schema}.later (id bigserial, x int)".encode())

    def may(part: str, schema: str) -> set[str]:
        with logins.connect(part) as connection:
            return {
                name
                for name in ("select", "insert", "update", "delete")
                if succeeds(connection, STATEMENTS[name], schema, "later", "x")
            }

    everything = {"select", "insert", "update", "delete"}
    assert {
        "front_end": (everything, {"select"}),
        "controller": ({"select"}, everything),
        "subscription": (set(), set()),
    } == {part: (may(part, DESIRED), may(part, STATUS)) for part in PARTS}
    with logins.connect("front_end") as front_end:
        front_end.execute("INSERT INTO desired.later (x) VALUES (1)")


# -- giving them -----------------------------------------------------------------------------------


def rights(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT n.nspname, c.relname, c.relkind::text, c.relacl::text, n.nspacl::text"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('desired', 'status') AND c.relkind IN ('r', 'S') ORDER BY 1, 2"
        ).fetchall()


async def test_giving_rights_again_changes_nothing_and_takes_back_what_was_too_much(
    logins: Logins,
) -> None:
    before = rights(logins.owner)
    with psycopg.connect(logins.owner, autocommit=True) as owner:
        owner.execute(f"GRANT ALL ON desired.node TO {ROLES.controller}".encode())
        owner.execute(f"GRANT UPDATE (spec) ON desired.node TO {ROLES.subscription}".encode())
    assert before != rights(logins.owner)

    async with opened(logins.owner) as store:
        await apply_grants(store, ROLES)
        await apply_grants(store, ROLES)

    assert before == rights(logins.owner)


async def test_who_does_not_own_the_tables_is_refused_and_nothing_is_changed(
    logins: Logins,
) -> None:
    before = rights(logins.owner)

    async with opened(logins.of("front_end")) as store:
        with pytest.raises(StoreError):
            await apply_grants(store, ROLES)

    assert before == rights(logins.owner)


async def test_sqlite_has_no_roles(sqlite_store: Store) -> None:
    with pytest.raises(ConfigError, match="SQLite has no roles"):
        await apply_grants(sqlite_store, ROLES)


@pytest.mark.parametrize("prefix", ["", "x3fleet; DROP TABLE x", "Größe", 'a"b', "9a"])
def test_a_prefix_that_is_no_name_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError):
        Roles(prefix)


# -- each part works with no more than its own -----------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
async def test_every_part_can_tell_the_version_of_the_tables(logins: Logins, part: str) -> None:
    async with open_as(logins, part) as (store, refused):
        await version.check_version(store)

    assert [] == refused


@pytest.mark.parametrize("part", PARTS)
async def test_no_part_migrates(logins: Logins, part: str) -> None:
    async with opened(logins.owner) as store, store.engine.begin() as connection:
        await connection.execute(text("UPDATE desired.alembic_version SET version_num = '0004'"))

    async with open_as(logins, part) as (store, _):
        with pytest.raises(StoreError):
            await migrate.upgrade(store)


async def test_commands_queries_sync_and_retention_run_as_the_front_end(
    logins: Logins, tmp_path
) -> None:
    (tmp_path / "x.yaml").write_text(
        "{apiVersion: x3fleet/v1, kind: Node, metadata: {name: fi-1}, spec: {panel: {url: "
        "'https://fi.example.net/', auth: {token: {env: T}}}}}"
    )
    async with opened(logins.owner) as owner:
        await apply(
            owner, make_bundle(make_node_spec("nl-1"), make_node_spec("nl-2"), make_tariff())
        )
        async with begin(owner, "test") as work:
            issued = await keys.issue(work, make_tariff().name)
        await place(owner, issued.key.id, NL1)
        blocked = {"kind": "deletes", "digest": "0123456789abcdef" * 4, "emails": ["a"]}
        await set_status(owner, NL1, blocked_sets=[blocked])

    async with open_as(logins, "front_end") as (store, refused):
        async with begin(store, "test") as work:
            await use_every_command(work, issued.subscription.id)
        look = await ManifestSync(store, SyncSettings(directory=tmp_path)).look()
        async with store.reading() as session:
            assert 4 == len(await list_nodes(session))
            assert [str(tmp_path)] == [one.source for one in await list_sources(session)]
        store.clock.advance(days=400)
        removed = await prune(store, PruneSettings())

    assert [] == refused
    assert look.fault is None
    assert {"wake", "audit_event"} <= set(removed)


@asynccontextmanager
async def fleet(logins: Logins, monkeypatch) -> AsyncIterator[tuple[Store, object]]:
    """Run a panel that the front-end has declared, with three keys for it."""
    panel = create_panel("3.2.8", options=PanelOptions(username="a", password="panel-pw"))
    by_hand.add_inbound(panel, {"protocol": "vless", "port": 30_001})
    monkeypatch.setenv("NODE_USERNAME", "a")
    monkeypatch.setenv("NODE_PASSWORD", "panel-pw")
    auth = AuthRefs(
        username=SecretRef("env", "NODE_USERNAME"), password=SecretRef("env", "NODE_PASSWORD")
    )
    async with running(panel, control_port=None) as served, opened(logins.of("front_end")) as store:
        spec = make_node_spec("nl-1", url=served.url, auth=auth)
        tariff = make_tariff(nodes=make_selector(None))
        async with begin(store, "test") as work:
            await manifests.apply_bundle(work, make_bundle(spec, tariff))
            for _ in range(3):
                await keys.issue(work, TariffName(tariff.name))
        yield store, panel


def controller_settings(logins: Logins) -> ControllerSettings:
    service = ServiceSettings(metrics=MetricsSettings(port=0))
    return ControllerSettings(store=settings_for(logins.of("controller")), service=service)


async def states(store: Store) -> list[str]:
    async with store.reading() as session:
        return sorted(await session.scalars(select(RemoteGenerationRow.state)))


async def test_a_reconcile_runs_as_the_controller_and_locks_nothing_of_desired_state(
    logins: Logins, monkeypatch
) -> None:
    """Create, rotate, revoke, and requests answered: all that one shot does."""
    async with fleet(logins, monkeypatch) as (front, panel):
        async with open_controller(controller_settings(logins)) as controller:
            refused = watched(controller.store)
            created = await controller.reconcile()
            async with front.reading() as session:
                names = sorted(await session.scalars(select(PlacementRow.key)))
            async with begin(front, "test") as work:
                await keys.rotate(work, names[0])
                await keys.revoke(work, names[1])
                await requests.ask(work, RequestKind.REMATCH, node=NodeName("nl-1"))
                await nodes.cordon(work, NodeName("nl-1"))
            changed = await controller.reconcile()
            plan = await controller.plan()

        assert ([], 3, True) == (refused, created.totals["created"], created.in_sync)
        assert (1, 2, True) == (
            changed.totals["created"], changed.totals["deleted"], plan.in_sync,
        )  # fmt: skip
        assert ["gone", "gone", "live", "live"] == await states(front)
        assert 2 == len(view_panel(panel)["clients"])


async def test_a_service_with_all_its_parts_runs_as_the_controller(
    logins: Logins, monkeypatch
) -> None:
    """Leases, wake-ups, alerts, retention of status, metrics: none of them asks for more."""
    async with fleet(logins, monkeypatch) as (front, _):
        settings = controller_settings(logins)
        async with open_controller(settings) as controller:
            refused = watched(controller.store)
            daemon, stop = Daemon(controller, EAGER), asyncio.Event()
            equip(daemon, settings.service)
            ran: dict[str, int] = {}
            for number, job in enumerate(daemon.jobs):
                daemon.jobs[number] = counted(job, ran)
            task = asyncio.create_task(daemon.run(stop))

            async def is_live() -> bool:
                return ["live"] * 3 == await states(front)

            await eventually(is_live)
            async with begin(front, "test") as work:
                asked = await requests.ask(work, RequestKind.PROBE, node=NodeName("nl-1"))

            async def is_answered() -> bool:
                async with front.reading() as session:
                    rows = await session.execute(
                        text("SELECT token FROM status.request_answer WHERE token = :token"),
                        {"token": asked.token},
                    )
                    return rows.first() is not None

            await eventually(is_answered)
            await eventually(lambda: {job.name for job in daemon.jobs} <= set(ran))
            stop.set()
            clean = await task

    assert clean
    assert [] == refused


def counted(job, ran):
    """Count what a job does, and have it done soon: the first tick of some is an hour away."""

    async def run() -> None:
        await job.run()
        ran[job.name] = ran.get(job.name, 0) + 1

    return replace(job, run=run, every_s=min(job.every_s, 0.5))


async def test_a_device_is_seen_and_admitted_as_the_subscription_page(logins: Logins) -> None:
    """It fetches, is remembered, comes again after a week, and makes way for another; no more than that."""
    async with opened(logins.owner) as owner:
        await DATASETS["fleet without keys"](owner)
        async with begin(owner, "test") as work:
            sold = await keys.issue(work, MONTH)
    device = identify_device("a phone")
    async with open_as(logins, "subscription") as (store, refused):
        async with begin(store, "subscription") as work:
            first = await devices.see(work, sold.subscription.id, device, title="a phone")
        async with begin(store, "subscription") as work:
            again = await devices.see(work, sold.subscription.id, device)
        with pytest.raises(StoreError):
            async with begin(store, "subscription") as work:
                await keys.revoke(work, sold.key.id)
    with logins.connect("subscription") as connection:
        may_read = succeeds(connection, "SELECT action FROM {table}", DESIRED, "audit_event", "id")
    with psycopg.connect(logins.owner) as connection:
        told = connection.execute("SELECT action, actor FROM desired.audit_event").fetchall()

    assert (True, False, True) == (first.admitted, first.known, again.known)
    assert ("device_admitted", "subscription") in told
    assert not may_read
    assert all("key" in one for one in refused)


async def test_an_installation_is_prepared_by_the_owner_alone(
    server_roles: None, databases: Databases
) -> None:
    """`db upgrade` needs the owner; afterwards nobody else does."""
    url = databases.empty()
    run_apart(make_ready(url))

    async with opened(url) as store:
        await apply_grants(store, ROLES)
        async with begin(store, "test") as work:
            prepared = await installation.prepare(work)

    assert not prepared.created


# -- a restore -------------------------------------------------------------------------------------


async def test_roles_have_their_rights_on_a_restored_database_and_none_on_what_was_put_aside(
    logins: Logins, sqlite_store: Store, tmp_path
) -> None:
    keys = read_keys((KEY,))
    made = await make_backup(sqlite_store, tmp_path, keys[0], nothing_fetched)
    before = rights(logins.owner)

    async with opened(logins.owner) as store:
        restored = await restore(store, Order(made.path, keys, "test", replace=True))

    assert ROLES.all == restored.granted
    assert before == rights(logins.owner)
    aside = restored.replaced.split(", ")
    done = {}
    for part in PARTS:
        with logins.connect(part) as connection:
            done[part] = [
                succeeds(connection, STATEMENTS["select"], schema, table, "id")
                for schema, table in ((DESIRED, "key"), (aside[0], "key"), (aside[1], "placement"))
            ]
    assert {part: [True, False, False] for part in PARTS} == done
    with psycopg.connect(logins.owner) as owner:
        left = owner.execute(
            "SELECT count(*) FROM information_schema.role_table_grants WHERE table_schema = ANY(%s)"
            " AND grantee = ANY(%s)",
            [aside, list(ROLES.all)],
        ).fetchone()
        later = owner.execute(
            "SELECT count(*) FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace"
            " WHERE n.nspname = ANY(%s) AND d.defaclacl::text LIKE %s",
            [aside, f"%{PREFIX}%"],
        ).fetchone()
    assert ((0,), (0,)) == (left, later)


async def test_a_database_that_no_role_worked_on_gets_none_by_a_restore(
    databases: Databases, sqlite_store: Store, tmp_path
) -> None:
    keys = read_keys((KEY,))
    made = await make_backup(sqlite_store, tmp_path, keys[0], nothing_fetched)
    url = databases.copy()

    async with opened(url) as store:
        restored = await restore(store, Order(made.path, keys, "test", replace=True))

    assert () == restored.granted
