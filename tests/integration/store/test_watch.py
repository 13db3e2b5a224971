"""A glance at the database file tells whether anybody has committed to it."""

import pytest
from sqlalchemy import text

from desired_state.store.errors import StoreBusy
from desired_state.store.watch import Watch


async def test_a_glance_changes_with_a_commit_and_with_nothing_else(sqlite_store):
    watch = Watch(sqlite_store)
    try:
        first = watch.glance()
        async with sqlite_store.reading() as session:
            await session.execute(text("SELECT 1"))
        after_reading = watch.glance()
        async with sqlite_store.recording() as session:
            await session.execute(text("UPDATE revision_counter SET id = id"))
            while_writing = watch.glance()
        after_commit = watch.glance()
    finally:
        watch.close()

    assert first is not None
    assert after_reading == while_writing == first
    assert after_commit != first


async def test_a_file_that_is_no_database_is_an_error_of_ours(sqlite_store, tmp_path):
    watch = Watch(sqlite_store)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all, whatever its name may say" * 100)
    watch._path = str(broken)
    try:
        with pytest.raises(StoreBusy):
            watch.glance()
    finally:
        watch.close()
