"""Names and owners of files that stay: nothing is overwritten, and what root writes belongs to the service.

A backup that is made, or restored, as root would otherwise be closed to the user that the service runs as.
Callers: backups, the lock of the one controller. Not here: what is in the files.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that know no hard links: exFAT, some network shares, some containers' folders."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group, by their numbers."""

    user: int
    group: int


def owner_of(path: Path) -> Owner:
    """Read who owns a file; of one that is not there, who owns its folder.

    Raises:
        OSError: neither can be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        found = path.parent.stat()
    return Owner(found.st_uid, found.st_gid)


def hand_over(file: int | Path, owner: Owner, *, user: int | None = None) -> None:
    """Give a file that was just made to whom it is for; only root has to, and may.

    Args:
        file: open, or by its name; a link is not followed.
        owner: whose it is to be.
        user: who is at work; None: whoever runs this.

    Raises:
        OSError: the file system refused.
    """
    if (os.geteuid() if user is None else user) != 0:
        return
    found = os.fstat(file) if isinstance(file, int) else file.lstat()
    # Where every file belongs to one user, as on exFAT, nothing is to be changed, nor could it be.
    if (found.st_uid, found.st_gid) == (owner.user, owner.group):
        return
    if isinstance(file, int):
        os.fchown(file, owner.user, owner.group)
    else:
        os.chown(file, owner.user, owner.group, follow_symlinks=False)


def make_folder(folder: Path, owner: Owner | None = None) -> None:
    """Make a private folder and those above it that are missing; one that is there stays as it is.

    Args:
        folder: which one.
        owner: whose they are to be; None: who owns the folder that they are made in.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    above = folder.absolute()
    while not above.exists():
        missing.append(above)
        above = above.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for made in reversed(missing):
        hand_over(made, owner or owner_of(made.parent))


def lock_descriptor(path: Path, owner: Owner) -> int:
    """Open a file that is there to be locked, private to its owner; made where it is missing.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags | os.O_CREAT, 0o600)
    try:
        hand_over(descriptor, owner)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def take_name(file: Path, name: Path) -> None:
    """Let a file have a name that is free; its old one may be gone afterwards.

    Raises:
        FileExistsError: the name is taken.
        OSError: the file system refused.
    """
    try:
        # A link and not a renaming: of two at once none takes the other's place.
        os.link(file, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Whoever holds the folder's lock is alone; elsewhere a file of this very moment would be lost.
        if os.path.lexists(name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(name)) from None
        file.rename(name)
