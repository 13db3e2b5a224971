"""What lies in a folder of backups is listed, whatever it is."""

from datetime import UTC, datetime

from desired_state.store.backup.folder import list_backups

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_link_that_leads_nowhere_is_listed_with_its_fault(tmp_path) -> None:
    (tmp_path / "lost.x3backup").symlink_to(tmp_path / "elsewhere")

    (one,) = list_backups(tmp_path, NOW)

    assert ("lost.x3backup", 0, None) == (one.name, one.bytes, one.taken_at)
    assert "No such file" in one.fault
