"""Errors of backups, a branch of the database's.

BackupError              a backup cannot be made, read, proved or restored
├── BackupKeyMissing     no configured key opens it
├── BackupBroken         what is in the file is not what was written into it
└── RestoreRefused       restoring now would lose something, or somebody is at work

Callers: everything in `store.backup`. Not here: other errors of the database (`store.errors`).
"""

from desired_state.store.errors import StoreError


class BackupError(StoreError):
    """A backup cannot be made, read, proved or restored."""

    code = "backup"


class BackupKeyMissing(BackupError):
    """No configured key opens a backup, or there is none to encrypt one with."""

    code = "backup_key_missing"


class BackupBroken(BackupError):
    """A backup was cut, changed, or is no backup at all."""

    code = "backup_broken"


class RestoreRefused(BackupError):
    """Restoring now would lose something, or somebody is at work on the database."""

    code = "restore_refused"
