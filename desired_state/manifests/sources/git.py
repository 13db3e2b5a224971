"""Manifests from a branch of a git repository: https, ssh, or a folder on this machine.

Called by sync, in a thread: everything here blocks. The branch's last commit is fetched without its
history and read straight from its objects; there is no work tree, and a forced push is a new revision
like any other. Not here: parsing, how a repository is reached (`transport`).
"""

import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dulwich.client import FetchPackResult
from dulwich.object_store import BaseObjectStore
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import MemoryRepo, Repo

from desired_state.manifests.errors import ManifestSourceUnavailable
from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.directory import MAX_FILES, SUFFIXES
from desired_state.manifests.sources.location import Location, Transport
from desired_state.manifests.sources.refusals import TooLarge, TooSlow, explained
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles
from desired_state.manifests.sources.transport import Remote, opened

MAX_BYTES = 64 * 2**20
"""Of one revision as it is sent; manifests of the largest fleet take a hundredth."""
MAX_DEPTH = 32
"""Folders within folders."""


@dataclass(slots=True)
class GitSource:
    """Every `*.yaml` and `*.yml` of a branch, below `settings.path`, as of its last commit.

    The revision is the commit. A commit that was read before is not fetched again.
    """

    settings: SyncSettings
    location: Location
    _last: ManifestFiles | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """Who owns what is declared there: repository, branch and folder."""
        folder = f":{self.settings.path}" if self.settings.path else ""
        return f"{self.location.name}#{self.settings.branch}{folder}"

    def fetch(self) -> ManifestFiles:
        """Read the branch's last commit.

        Raises:
            ManifestSourceUnavailable: the repository could not be reached or read, has no such
                branch or folder, or holds no manifest there.
        """
        if self.location.transport is Transport.LOCAL:
            with explained(self.location, self.settings), Repo(self.location.path) as repo:
                commit = self._wanted(repo.get_refs())
                if self._last is None or commit.decode() != self._last.revision:
                    self._last = self._read(repo.object_store, commit)
        else:
            with opened(self.location, self.settings) as remote:
                self._fetch(remote)
        assert self._last is not None  # noqa: S101  # one of the two has read it
        return self._last

    def _fetch(self, remote: Remote) -> None:
        repo = MemoryRepo()
        with explained(self.location, self.settings, remote.said):
            pack, commit = _Pack(self.settings.timeout_s), ObjectID(b"")
            file, keep, drop = repo.object_store.add_pack()

            def want(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
                nonlocal commit
                del depth
                commit = self._wanted(refs)
                known = self._last is not None and self._last.revision == commit.decode()
                return [] if known else [commit]

            def store(data: bytes) -> int:
                pack.count(data)
                return file.write(data)

            try:
                result = remote.client.fetch_pack(
                    remote.path,
                    want,
                    repo.get_graph_walker(),
                    store,
                    progress=pack.count_nothing,
                    depth=1,
                    ref_prefix=[self._ref],
                )
                _refuse_other_hashes(result)
            except BaseException:
                drop()
                raise
            keep()
            if pack.size:
                self._last = self._read(repo.object_store, commit)

    @property
    def _ref(self) -> Ref:
        return Ref(f"refs/heads/{self.settings.branch}".encode())

    def _wanted(self, refs: Mapping[Ref, ObjectID]) -> ObjectID:
        commit = refs.get(self._ref)
        if commit is None:
            raise ManifestSourceUnavailable(
                f"{self.location.name} has no branch {self.settings.branch}",
                hint="set X3FLEET_SYNC__BRANCH",
            )
        return commit

    def _read(self, objects: BaseObjectStore, commit: ObjectID) -> ManifestFiles:
        root = objects[commit]
        if not isinstance(root, Commit):
            raise ManifestSourceUnavailable(f"{self.name} is no commit")
        files = tuple(sorted(self._files(objects, root), key=lambda file: file.name))
        if not files:
            raise ManifestSourceUnavailable(
                f"{self.name} holds no *.yaml or *.yml file at {commit.decode()[:12]}",
                hint="set X3FLEET_SYNC__PATH to the folder of the fleet",
            )
        return ManifestFiles(files, commit.decode(), self.name)

    def _files(self, objects: BaseObjectStore, commit: Commit) -> Iterator[ManifestFile]:
        start = PurePosixPath(self.settings.path)
        mode, found = stat.S_IFDIR, commit.tree
        for part in start.parts:
            entries = _entries(objects, found) if stat.S_ISDIR(mode) else {}
            if part not in entries:
                raise ManifestSourceUnavailable(
                    f"{self.location.name} has no {start} on branch {self.settings.branch}",
                    hint="set X3FLEET_SYNC__PATH",
                )
            mode, found = entries[part]
        for number, (name, blob) in enumerate(_walk(objects, start, mode, found)):
            if number == MAX_FILES:
                raise ManifestSourceUnavailable(
                    f"{self.name} holds more than {MAX_FILES} manifests",
                    hint="set X3FLEET_SYNC__PATH to the folder of the fleet",
                )
            yield ManifestFile(name, blob)


@dataclass(slots=True)
class _Pack:
    """Counts what comes in, and breaks it off: the library has neither limit nor end in time."""

    timeout_s: float
    size: int = 0
    _started_s: float = field(default_factory=time.monotonic)

    def count(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > MAX_BYTES:
            raise TooLarge(MAX_BYTES)
        self.count_nothing(data)

    def count_nothing(self, told: bytes) -> None:
        del told
        if time.monotonic() - self._started_s > self.timeout_s:
            raise TooSlow


def _refuse_other_hashes(result: FetchPackResult) -> None:
    if result.object_format not in (None, "sha1"):
        raise ManifestSourceUnavailable(
            f"the repository names its objects by {result.object_format}",
            hint="only sha1 repositories can be read",
        )


def _entries(objects: BaseObjectStore, tree: ObjectID) -> dict[str, tuple[int, ObjectID]]:
    found = objects[tree]
    if not isinstance(found, Tree):
        return {}
    return {
        entry.path.decode("utf-8", "replace"): (entry.mode, entry.sha)
        for entry in found.iteritems()
    }


def _walk(
    objects: BaseObjectStore, path: PurePosixPath, mode: int, found: ObjectID, depth: int = 0
) -> Iterator[tuple[str, bytes]]:
    """Yield manifests as the directory source would: names that begin with a dot are passed over."""
    if stat.S_ISDIR(mode):
        if depth > MAX_DEPTH:
            raise ManifestSourceUnavailable(f"{path} lies more than {MAX_DEPTH} folders deep")
        for name, (kind, child) in _entries(objects, found).items():
            is_wanted = stat.S_ISDIR(kind) or name.endswith(SUFFIXES)
            if is_wanted and not name.startswith("."):
                yield from _walk(objects, path / name, kind, child, depth + 1)
    elif stat.S_ISLNK(mode):
        # Passing it over would make what it declares vanish.
        raise ManifestSourceUnavailable(
            f"{path} is a link", hint="in a repository links are not followed: commit the file"
        )
    elif stat.S_ISREG(mode):
        blob = objects[found]
        if isinstance(blob, Blob):
            yield str(path), blob.data
