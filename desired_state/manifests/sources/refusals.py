"""What went wrong with a repository, in one sentence of our own.

Callers: `git`. The library's texts are not repeated: they hold URLs, bodies and what servers chose to
say. Of ssh one line is, since only it knows why it was refused. Not here: the errors of manifests.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3.exceptions
from dulwich import errors
from dulwich.client import HTTPProxyUnauthorized, HTTPUnauthorized

from desired_state.manifests.errors import ManifestError, ManifestSourceUnavailable
from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.location import Location, Transport

KEPT = "nothing was applied; the last good revision stays in use"
SAID_BYTES = 200
_SETTINGS = "X3FLEET_SYNC__TOKEN or X3FLEET_SYNC__TOKEN_FILE"


class TooLarge(Exception):
    """More came in than a fleet's manifests are."""


class TooSlow(Exception):
    """The time of one fetch is over."""


_KNOWN: tuple[type[Exception], ...] = (
    TooLarge,
    TooSlow,
    HTTPUnauthorized,
    HTTPProxyUnauthorized,
    errors.GitProtocolError,
    errors.NotGitRepository,
    urllib3.exceptions.HTTPError,
    OSError,
)
_BROKEN: tuple[type[Exception], ...] = (
    errors.ApplyDeltaError,
    errors.ChecksumMismatch,
    errors.FileFormatException,
    errors.MissingCommitError,
    errors.ObjectMissing,
    errors.WrongObjectException,
    errors.RefFormatError,
    # What the library lets through where an answer is not what it expects.
    AssertionError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def explained(
    location: Location, settings: SyncSettings, said: Callable[[], str] = str
) -> Iterator[None]:
    """Turn whatever reading a repository raises into a sentence.

    Args:
        location: which repository.
        settings: whether a token was sent, and how long was waited.
        said: what ssh told on stderr.

    Raises:
        ManifestSourceUnavailable: the repository could not be read; the cause is chained.
    """
    try:
        yield
    except ManifestError:
        raise
    except _KNOWN as error:
        what, hint = _explain(error, location, settings, said)
        raise ManifestSourceUnavailable(f"{location.name} {what}", hint=hint or KEPT) from error
    except _BROKEN as error:
        raise ManifestSourceUnavailable(
            f"{location.name} does not answer as a git repository does ({type(error).__name__})",
            hint=KEPT,
        ) from error


def _explain(
    error: Exception, location: Location, settings: SyncSettings, said: Callable[[], str]
) -> tuple[str, str]:
    """Say what happened, and what to do about it where there is more than waiting."""
    is_http = location.transport is Transport.HTTP
    match error:
        case TooLarge():
            answer = f"sends more than {error.args[0]} bytes for one commit", ""
        case HTTPUnauthorized() if settings.has_token:
            answer = "refused the token", f"put another into {_SETTINGS}"
        case HTTPUnauthorized():
            answer = "asks for a token", f"put one into {_SETTINGS}"
        case HTTPProxyUnauthorized():
            answer = "is behind a proxy that refused us", ""
        case errors.NotGitRepository() if is_http:
            answer = "is no repository, or hides itself from whom it does not know", ""
        case errors.NotGitRepository():
            answer = "is no git repository", "set X3FLEET_SYNC__REPOSITORY"
        case FileNotFoundError() if location.transport is Transport.SSH:
            answer = "cannot be reached: there is no ssh command here", "install an ssh client"
        case errors.GitProtocolError() if location.transport is Transport.SSH:
            answer = _explain_ssh(said(), settings)
        case _:
            answer = _explain_cause(error, settings), ""
    return answer


def _explain_ssh(said: str, settings: SyncSettings) -> tuple[str, str]:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return _too_slow(settings), ""
    last = lines[-1]
    told = re.sub(r"[^ -~]", "?", last)[:SAID_BYTES]
    text = "\n".join(lines)
    if "Host key verification failed" in text:
        return f"cannot be trusted: {told}", (
            "add its host key to known_hosts, or set X3FLEET_SYNC__KNOWN_HOSTS_FILE"
        )
    if "Permission denied" in text:
        return f"refused us: {told}", "set X3FLEET_SYNC__SSH_KEY_FILE to a key that may read it"
    return f"cannot be read: {told}", ""


def _explain_cause(error: Exception, settings: SyncSettings) -> str:
    """Find the first thing in the chain of causes that says what happened."""
    told = (_told(cause, settings) for cause in _chain(error))
    if found := next(filter(None, told), ""):
        return found
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or type(error).__name__}"
    return "broke the conversation off"


def _told(error: BaseException, settings: SyncSettings) -> str:
    match error:
        case urllib3.exceptions.SSLError():
            return "has a certificate that we do not trust"
        case urllib3.exceptions.NameResolutionError():
            return "cannot be reached: its host name is not known"
        # Before time-outs: to the library a refused connection is one of them.
        case urllib3.exceptions.NewConnectionError() | ConnectionError():
            return "cannot be reached: no connection"
        case TooSlow() | urllib3.exceptions.TimeoutError() | TimeoutError():
            return _too_slow(settings)
    status = re.match(r"unexpected http resp (\d{3})", str(error))
    return f"answers with HTTP status {status[1]}" if status else ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
            yield error.reason
        yield error
        error = error.__cause__ or error.__context__


def _too_slow(settings: SyncSettings) -> str:
    return f"did not answer within {settings.timeout_s:g} s"
