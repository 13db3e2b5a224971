"""Whether a disk has room for a backup: asked before it is filled, since the database may lie on it too.

Callers: `making`, and whoever puts panels' databases beside ours. Not here: what becomes of a disk that fills
all the same, which ends the backup with its own words and leaves nothing behind.
"""

import shutil
from pathlib import Path

from desired_state.store.backup.errors import BackupError

RESERVE_BYTES = 64 << 20
"""Left to everybody else on the disk: a database that cannot grow its log refuses every write."""
COPIES = 3
"""At its end a backup lies there plain, encrypted, and unpacked again to be proved; it may not compress."""
_MIB = 1 << 20


def require_room(folder: Path, needed_bytes: int = 0) -> None:
    """Refuse to begin what the disk of a folder has no room for.

    Raises:
        BackupError: says how much is free and how much is needed; the folder cannot be looked at.
    """
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from error
    needed = needed_bytes + RESERVE_BYTES
    if free < needed:
        raise BackupError(
            f"{folder}: a backup needs {needed / _MIB:.0f} MiB of room, and {free / _MIB:.0f} are free",
            hint="make room, or let X3FLEET_BACKUP__FOLDER lead to another disk",
        )
