"""The ways to a git repository: https with a token, ssh with a key file; each with an end in time.

Callers: `git`. What the library leaves open is closed here: ssh runs without questions, in a process group
of its own that is killed when its time is up; HTTP connects once, not four times. Not here: what is
fetched, and what an error means (`refusals`).
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import IO, Any

import urllib3
from dulwich.client import (
    GitClient,
    SSHGitClient,
    SSHVendor,
    SubprocessWrapper,
    Urllib3HttpGitClient,
    default_urllib3_manager,
)
from dulwich.config import ConfigFile
from dulwich.protocol import Protocol

from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.location import Location, Transport
from desired_state.model.errors import ConfigError

_RETRIES = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5)
"""The next look is the retry; without this, a dead host would be waited for four times."""
_LAST_WORDS_S = 1.0
"""How long an ended conversation may take to say why."""


@dataclass(frozen=True, slots=True)
class Remote:
    """An open way to a repository. `said`: what ssh has told on stderr by now."""

    client: GitClient
    path: str
    said: Callable[[], str] = str


@contextmanager
def opened(location: Location, settings: SyncSettings) -> Iterator[Remote]:
    """Open the way to a repository for one conversation, and close it whatever happens.

    Raises:
        ConfigError: the token's file cannot be read.
    """
    if location.transport is Transport.SSH:
        ssh = _SshClient(location, settings)
        try:
            yield Remote(ssh, location.path, ssh.said)
        finally:
            ssh.close()
        return
    token = read_token(settings)
    pool = _pool(location.url, settings)
    try:
        yield Remote(
            Urllib3HttpGitClient(
                location.url,
                pool_manager=pool,
                username=None if token is None else settings.username,
                password=token,
            ),
            "",
        )
    finally:
        pool.clear()


def read_token(settings: SyncSettings) -> str | None:
    """The token as it is now: a file is read again each time, so that a new one needs no restart.

    Raises:
        ConfigError: its file cannot be read, or is empty.
    """
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.token_file is None:
        return None
    try:
        token = settings.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {settings.token_file} cannot be read") from error
    if not token:
        raise ConfigError(f"the token file {settings.token_file} is empty")
    return token


class _Pool(urllib3.PoolManager):
    """Connects once, and closes what it answered: the library forgets an answer that it refuses."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # urllib3's own
        super().__init__(retries=_RETRIES, **options)
        self._answers: list[urllib3.BaseHTTPResponse] = []

    def urlopen(self, *args: Any, **options: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401  # urllib3's own
        answer = super().urlopen(*args, **options)
        self._answers.append(answer)
        return answer

    def clear(self) -> None:
        for answer in self._answers:
            answer.close()
        super().clear()


class _ProxyPool(_Pool, urllib3.ProxyManager):
    def __init__(self, proxy_url: str, **options: Any) -> None:  # noqa: ANN401  # urllib3's own
        super().__init__(proxy_url=proxy_url, **options)


def _pool(url: str, settings: SyncSettings) -> Any:  # noqa: ANN401  # one of three classes of the library
    config = ConfigFile()
    if settings.ca_file is not None:
        config.set((b"http",), b"sslCAInfo", str(settings.ca_file).encode())
    return default_urllib3_manager(
        config,
        pool_manager_cls=_Pool,
        proxy_manager_cls=_ProxyPool,
        base_url=url,
        timeout=settings.timeout_s,
    )


class _SshClient(SSHGitClient):
    """Speaks through the system's `ssh`, which knows the operator's known hosts."""

    def __init__(self, location: Location, settings: SyncSettings) -> None:
        self._vendor = _Ssh(settings)
        self._opened: list[Protocol] = []
        super().__init__(location.host, location.port, location.user, vendor=self._vendor)

    def _connect(
        self, cmd: bytes, path: str | bytes, protocol_version: int | None = None
    ) -> tuple[Protocol, Callable[[], bool], IO[bytes] | None]:
        protocol, can_read, _ = super()._connect(cmd, path, protocol_version)
        # Kept: the library forgets one whose first answer is none.
        self._opened.append(protocol)
        return protocol, can_read, None

    def said(self) -> str:
        """What ssh told, once it has ended."""
        return "\n".join(run.said() for run in self._vendor.runs)

    def close(self) -> None:
        """End every run of ssh."""
        for protocol in self._opened:
            protocol.close()
        for run in self._vendor.runs:
            run.forget()


class _Ssh(SSHVendor):
    def __init__(self, settings: SyncSettings) -> None:
        self._settings = settings
        self.runs: list[_Run] = []

    def run_command(  # type: ignore[override]  # the client passes the rest by keyword
        self,
        host: str,
        command: bytes,
        **given: Any,  # noqa: ANN401  # the library's own
    ) -> SubprocessWrapper:
        where = f"{given['username']}@{host}" if given.get("username") else host
        port = [] if given.get("port") is None else ["-p", str(given["port"])]
        words: list[str | bytes] = [
            "ssh",
            "-x",
            "-T",
            *_options(self._settings),
            *port,
            "--",
            where,
            command,
        ]
        self.runs.append(_Run(words, self._settings.timeout_s))
        return self.runs[-1]


def _options(settings: SyncSettings) -> list[str]:
    connect_s = max(1, int(settings.timeout_s))
    # BatchMode: nobody is there to be asked for a password, or whether a host key is right.
    chosen = ["BatchMode=yes", "StrictHostKeyChecking=yes", f"ConnectTimeout={connect_s}"]
    if settings.known_hosts_file is not None:
        chosen.append(f'UserKnownHostsFile="{settings.known_hosts_file}"')
    if settings.ssh_key_file is None:
        return [word for option in chosen for word in ("-o", option)]
    # IdentitiesOnly: an agent's keys would be offered first, and let us in as somebody else.
    chosen.append("IdentitiesOnly=yes")
    key = ["-i", str(settings.ssh_key_file)]
    return [*(word for option in chosen for word in ("-o", option)), *key]


class _Run(SubprocessWrapper):
    """One run of ssh: ended, with everything it started, when its time is up.

    What it says on stderr goes to a file: a pipe that nobody reads while a pack comes in fills up, and
    then both sides wait for ever.
    """

    def __init__(self, words: list[str | bytes], timeout_s: float) -> None:
        self._said = Path(tempfile.mkdtemp(prefix="x3fleet-ssh-")) / "stderr"
        with self._said.open("wb") as said:
            process = subprocess.Popen(  # noqa: S603  # no shell; every word is ours or was checked
                words,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        super().__init__(process)
        self._killed = False
        self._end = Timer(timeout_s, self._kill)
        self._end.daemon = True
        self._end.start()

    @property
    def stderr(self) -> None:
        """Nothing that could be waited for; see `said`."""

    def said(self) -> str:
        """What it told; nothing when its time was up, for then it told nothing of that."""
        with suppress(subprocess.TimeoutExpired):
            # Why it refused stands there when its output has ended, or a moment later.
            self.proc.wait(_LAST_WORDS_S)
        return "" if self._killed else self._said.read_text("utf-8", errors="replace")

    def close(self, timeout: int | None = None) -> None:
        """End it; nothing is sent or read any more."""
        del timeout
        self._end.cancel()
        for pipe in (self.proc.stdin, self.proc.stdout):
            if pipe is not None:
                pipe.close()
        self._kill()
        self.proc.wait()

    def forget(self) -> None:
        """Remove what it said."""
        self._said.unlink(missing_ok=True)
        self._said.parent.rmdir()

    def _kill(self) -> None:
        if self.proc.poll() is None:
            self._killed = True
            os.killpg(self.proc.pid, signal.SIGKILL)
