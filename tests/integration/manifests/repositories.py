"""Git repositories for tests, made and served without git: on disk, over https, over a pretended ssh.

Callers: the tests beside this file, and the one end to end. Not here: expectations.
"""

import base64
import json
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import trustme
from dulwich.index import commit_tree
from dulwich.objects import Blob, Commit
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

REGULAR, LINK = 0o100644, 0o120000
TOKEN = "git-token-8f2c41"
_WHO = b"An Operator <operator@example.net>"
NODE = """\
apiVersion: x3fleet/v1
kind: Node
metadata: {name: %(name)s}
spec:
  panel:
    url: https://%(name)s.example.net:2053/panel-path/
    auth: {token: {env: NODE_TOKEN}}
  deletionPolicy: %(policy)s
"""


def node(name: str, *, policy: str = "Orphan", more: str = "") -> str:
    """Write a node's manifest."""
    return NODE % {"name": name, "policy": policy} + more


@dataclass
class Repository:
    """A bare repository on disk whose branches are moved by the test."""

    path: Path
    _times: Iterator[int] = field(default_factory=lambda: count(1_790_000_000))

    def __post_init__(self) -> None:
        Repo.init_bare(str(self.path), mkdir=True, default_branch=b"main").close()

    def commit(
        self,
        files: Mapping[str, str],
        *,
        branch: str = "main",
        onto: str | None = "",
        links: Mapping[str, str] = {},  # read only
    ) -> str:
        """Put exactly these files onto a branch and return the commit.

        `onto`: its parent; "" the present head, None none at all, which is a forced push.
        """
        name = f"refs/heads/{branch}".encode()
        with Repo(str(self.path)) as repo:
            blobs = [
                (path, REGULAR, Blob.from_string(text.encode())) for path, text in files.items()
            ]
            blobs += [(path, LINK, Blob.from_string(to.encode())) for path, to in links.items()]
            for _, _, blob in blobs:
                repo.object_store.add_object(blob)
            entries = [(path.encode(), blob.id, mode) for path, mode, blob in blobs]
            commit = Commit()
            commit.tree = commit_tree(repo.object_store, entries)
            head = repo.get_refs().get(name)
            parent = head if onto == "" else onto and onto.encode()
            commit.parents = [parent] if parent else []
            commit.author = commit.committer = _WHO
            commit.author_time = commit.commit_time = next(self._times)
            commit.author_timezone = commit.commit_timezone = 0
            commit.message = b"A revision"
            repo.object_store.add_object(commit)
            repo.refs[name] = commit.id
            return commit.id.decode()


# -- https -----------------------------------------------------------------------------------------


@dataclass
class Host:
    """A git host: one repository behind a token. `down`: it answers 503 to everything."""

    url: str
    ca_file: Path
    down: bool = False
    asked: list[str] = field(default_factory=list)
    authorized: list[str] = field(default_factory=list)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Server(WSGIServer):
    """Shakes hands where a failure is seen: a client that trusts nobody hangs up in the middle."""

    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)


@contextmanager
def served(repository: Repository, folder: Path, *, token: str | None = TOKEN) -> Iterator[Host]:
    """Serve a repository over https on loopback while the block runs."""
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    repo = Repo(str(repository.path))
    host = Host("", ca_file)
    server = _Server(("127.0.0.1", 0), _Quiet)
    server.context = context
    server.set_app(_guarded(make_wsgi_chain(DictBackend({"/fleet.git": repo})), host, token))
    host.url = f"https://127.0.0.1:{server.server_address[1]}/fleet.git"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        repo.close()


def _guarded(app: Any, host: Host, token: str | None) -> Callable[..., Any]:
    def guard(environ: dict[str, Any], start_response: Any) -> Any:
        host.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        sent = environ.get("HTTP_AUTHORIZATION", "")
        if sent:
            host.authorized.append(base64.b64decode(sent.removeprefix("Basic ")).decode())
        if host.down:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"down"]
        if token is not None and not sent.startswith("Basic "):
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"')])
            return [b""]
        if token is not None and host.authorized[-1].partition(":")[2] != token:
            start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"')])
            return [b""]
        return app(environ, start_response)

    return guard


# -- ssh -------------------------------------------------------------------------------------------

_SSH = """\
#!{python}
import json, os, pathlib, shlex, sys, time
here = pathlib.Path({folder!r})
(here / "called.json").write_text(json.dumps({{"words": sys.argv[1:], "pid": os.getpid()}}))
mode = (here / "mode").read_text()
if mode == "refuse":
    sys.exit("git@git.example.net: Permission denied (publickey).")
if mode == "unknown host":
    sys.exit("No ED25519 host key is known\\nHost key verification failed.")
if mode == "hang":
    time.sleep(600)
from dulwich.server import UploadPackHandler, serve_command
command, path = shlex.split(sys.argv[-1])
assert command == "git-upload-pack", command
# More than a pipe holds: nobody reads it before the end.
sys.stderr.write("a banner\\n" * 20_000)
sys.exit(serve_command(UploadPackHandler, ["git-upload-pack", path]))
"""


@dataclass
class FakeSsh:
    """An executable `ssh` first on the PATH, which serves what it is asked for from this machine."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        script = self.folder / "ssh"
        script.write_text(_SSH.format(python=sys.executable, folder=str(self.folder)))
        script.chmod(0o755)
        self.mode("serve")

    def mode(self, name: str) -> None:
        """Choose what it does from now on."""
        (self.folder / "mode").write_text(name)

    @property
    def called(self) -> dict[str, Any]:
        """How it was called last: `words`, `pid`."""
        found: dict[str, Any] = json.loads((self.folder / "called.json").read_text())
        return found
