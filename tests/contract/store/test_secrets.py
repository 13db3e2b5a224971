"""Secrets at rest: bound to their place, rotated in batches, unreadable with other keys."""

import pytest
from sqlalchemy import Text, select, type_coerce
from sqlalchemy.exc import StatementError

from desired_state.commands import installation
from desired_state.model.ownership import DEFAULT_TEMPLATE
from desired_state.store import migrate
from desired_state.store.convert import inbound_place, seed_place, spec_to_json
from desired_state.store.engine import Store
from desired_state.store.errors import SecretUnreadable, StoreUnprepared
from desired_state.store.installation import read_ownership
from desired_state.store.rotation import Rotation, rotate_secrets
from desired_state.store.secrets import Place, make_key
from desired_state.store.tables.desired import (
    InstallationSecretRow,
    KeyGenerationRow,
    KeyRow,
    SubscriptionRow,
    TariffRow,
)
from desired_state.store.tables.status import InboundRow
from desired_state.store.tables.types import DesiredRow, Sealed, StatusRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_tariff
from tests.stores import KEY, START, Databases, opened

KEYS = 7
SEED = b"seed of one generation, 32 bytes"


async def write_keys(store: Store) -> None:
    """Seven keys with one generation each, and one inbound with settings and no stream."""
    async with begin(store, "test") as work:
        revision = await work.revise()
        work.audit("rows_made", "test/rows")
        spec = spec_to_json(make_tariff("t"))
        work.session.add(TariffRow(name="t", spec=spec, revision=revision))
        await work.session.flush()
        work.session.add(
            SubscriptionRow(
                id="s", tariff_name="t", period_started_at=START, created_at=START,
                revision=revision,
            )
        )  # fmt: skip
        await work.session.flush()
        for number in range(KEYS):
            name = f"key{number}"
            work.session.add(
                KeyRow(
                    id=name, subscription_id="s", selector_labels={}, created_at=START,
                    revision=revision,
                )
            )  # fmt: skip
            await work.session.flush()
            seed = work.vault.seal(SEED, seed_place(name, 1))
            work.session.add(
                KeyGenerationRow(key_id=name, generation=1, seed=seed, created_at=START)
            )
    async with store.recording() as session:
        sealed = store.vault.seal(b"{}", inbound_place("n", 3, "settings"))
        session.add(InboundRow(node="n", inbound_id=3, protocol="vless", port=443, settings=sealed))


async def seeds(store: Store) -> list[bytes]:
    async with store.reading() as session:
        rows = (await session.scalars(select(KeyGenerationRow))).all()
        return [store.vault.open(row.seed, seed_place(row.key_id, row.generation)) for row in rows]


async def test_what_is_stored_shows_nothing_of_the_secret(store: Store) -> None:
    await write_keys(store)

    seeds_alone = select(type_coerce(KeyGenerationRow.seed, Text()))
    async with store.reading() as session:
        stored = "".join(await session.scalars(seeds_alone))
    assert SEED.decode() not in stored
    assert "gAAAA" in stored


async def test_a_plain_secret_cannot_be_stored(store: Store) -> None:
    row = InstallationSecretRow(version=9, value="plain", created_at=START)

    async def write() -> None:
        async with begin(store, "test") as work:
            await work.revise()
            work.audit("test", "test/1")
            work.session.add(row)

    with pytest.raises(StatementError, match="must be sealed"):
        await write()


@pytest.mark.parametrize(
    "other",
    [
        Place("key_generation", "key1/1", "seed"),
        Place("key_generation", "key0/2", "seed"),
        Place("key_generation", "key0/1", "note"),
        Place("installation_secret", "key0/1", "seed"),
    ],
    ids=["another key", "another generation", "another field", "another table"],
)
async def test_a_ciphertext_is_refused_in_any_other_place(store: Store, other: Place) -> None:
    sealed = store.vault.seal(SEED, seed_place("key0", 1))

    assert SEED == store.vault.open(sealed, seed_place("key0", 1))
    with pytest.raises(SecretUnreadable, match="for another place"):
        store.vault.open(sealed, other)


async def test_a_seed_copied_to_another_key_is_refused(store: Store) -> None:
    """Who may write to the database still cannot give one person's credentials to another."""
    await write_keys(store)
    async with store.recording() as session:
        victim = await session.get_one(KeyGenerationRow, ("key0", 1))
        thief = await session.get_one(KeyGenerationRow, ("key1", 1))
        thief.seed = Sealed(victim.seed.token)

    with pytest.raises(SecretUnreadable, match="key_generation/key1/1/seed"):
        await seeds(store)


async def test_rotation_moves_every_secret_to_the_new_key(
    store: Store, databases: Databases
) -> None:
    await write_keys(store)
    new = make_key()

    async with opened(databases.borrowed[-1], new, KEY) as rotating:
        assert Rotation(seen=KEYS + 2, renewed=KEYS + 2) == await rotate_secrets(rotating, batch=3)
        assert Rotation(seen=KEYS + 2, renewed=0) == await rotate_secrets(rotating, batch=3)

    async with opened(databases.borrowed[-1], new) as after:
        assert [SEED] * KEYS == await seeds(after)


async def test_rotation_changes_no_mark(store: Store, databases: Databases) -> None:
    async with store.reading() as session:
        before = await read_ownership(session, store.vault)
    new = make_key()

    async with opened(databases.borrowed[-1], new, KEY) as rotating:
        await rotate_secrets(rotating)
    async with opened(databases.borrowed[-1], new) as after, after.reading() as session:
        ownership = await read_ownership(session, after.vault)

    assert before == ownership
    assert DEFAULT_TEMPLATE == ownership.template
    assert before.mark("x3f-aaaaaaaaaa-g1") == ownership.mark("x3f-aaaaaaaaaa-g1")


@pytest.mark.parametrize(
    ("group", "expected"),
    [(DesiredRow, KEYS + 1), (StatusRow, 1)],
    ids=["desired", "status"],
)
async def test_a_role_may_rotate_its_own_group_alone(
    store: Store,
    databases: Databases,
    group: type[DesiredRow | StatusRow],
    expected: int,
) -> None:
    await write_keys(store)

    async with opened(databases.borrowed[-1], make_key(), KEY) as rotating:
        assert Rotation(expected, expected) == await rotate_secrets(rotating, group)


async def test_an_interrupted_rotation_goes_on_where_it_was(
    store: Store, databases: Databases
) -> None:
    """The first unreadable secret is named; the batches before it stay renewed."""
    await write_keys(store)
    async with store.recording() as session:
        row = await session.get_one(KeyGenerationRow, ("key5", 1))
        good, row.seed = row.seed, Sealed("gAAAAAno-token")

    async with opened(databases.borrowed[-1], make_key(), KEY) as rotating:
        with pytest.raises(SecretUnreadable, match="key_generation/key5/1/seed"):
            await rotate_secrets(rotating, DesiredRow, batch=2)
        async with rotating.recording() as session:
            (await session.get_one(KeyGenerationRow, ("key5", 1))).seed = good
        again = await rotate_secrets(rotating, DesiredRow, batch=2)

    assert KEYS + 1 == again.seen
    assert 0 < again.renewed < KEYS + 1


async def test_other_keys_open_nothing_and_say_so(store: Store, databases: Databases) -> None:
    async with opened(databases.borrowed[-1], make_key()) as stranger:
        async with stranger.reading() as session:
            with pytest.raises(SecretUnreadable, match="configured encryption keys"):
                await read_ownership(session, stranger.vault)
        with pytest.raises(SecretUnreadable):
            async with begin(stranger, "test") as work:
                await installation.prepare(work)


async def test_an_installation_is_made_once(store: Store) -> None:
    async with begin(store, "test") as work:
        again = await installation.prepare(work)

    assert not again.created
    async with store.reading() as session:
        assert [1] == [s.version for s in (await read_ownership(session, store.vault)).secrets]


async def test_an_unprepared_database_says_what_to_do(databases: Databases) -> None:
    async with opened(databases.empty()) as store:
        await migrate.upgrade(store)
        async with store.reading() as session:
            with pytest.raises(StoreUnprepared, match="x3fleet db upgrade"):
                await read_ownership(session, store.vault)
