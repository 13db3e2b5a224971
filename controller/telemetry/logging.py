"""How every process of ours logs: structlog, JSON or colours, secrets masked, long texts cut.

Callers: cli, once, before a role starts. Lines go to the stream given, stderr by default, so that
output meant for programs stays clean. Not here: names of events (`events`), what is worth a line.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from controller.telemetry.masking import MASK, mask_text

LONGEST = 256
"""Characters of one string in a line; an answer or a list must not flood the log."""
LONGEST_TRACEBACK = 8_192
SEARCHED = 16
"""Of a text that is cut, so many times what is left is searched for secrets, up to the last space."""
SECRET_FIELDS = (
    "password", "passwd", "token", "secret", "seed", "uuid", "auth", "sub_id", "subid", "totp",
    "cookie", "link", "credential", "api_key", "private",
)  # fmt: skip
"""A field whose name holds one of these is masked, whatever its value."""
TALKATIVE = (
    "httpx", "httpcore", "sqlalchemy", "aiosqlite", "asyncio", "alembic", "uvicorn", "apscheduler",
)  # fmt: skip
"""Libraries that say at INFO what a panel's address, and so a credential in it, is."""


def configure_logging(
    *, json: bool | None = None, level: str = "info", stream: TextIO | None = None
) -> None:
    """Set up logging of this process.

    Args:
        json: one JSON object a line; None: unless the stream is a terminal.
        level: the least that is shown: debug, info, warning or error.
        stream: where lines go; None for stderr.
    """
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_SHARED, *_rendering(as_json=as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _tame_libraries(out, as_json=as_json, level=number)


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask by field name at any depth, and by shape in any text; cut strings and what is neither."""
    del logger, method
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: object) -> object:
    if name in ("exception", "stack"):
        return _cut(str(value), LONGEST_TRACEBACK)
    if any(secret in name.lower() for secret in SECRET_FIELDS):
        return MASK if value not in (None, "") else value
    return _clean_value(name, value)


def _clean_value(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_cut(str(key)): _clean(str(key), part) for key, part in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [_clean_value(name, part) for part in value]
    return _cut(value if isinstance(value, str) else repr(value))


def _cut(text: str, longest: int = LONGEST) -> str:
    # Masked before it is cut: half a secret is one too, and has no shape any more.
    if len(text) > longest * SEARCHED:
        text = text[: longest * SEARCHED].rpartition(" ")[0] + "…"
    text = mask_text(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _rendering(*, as_json: bool) -> tuple[Processor, ...]:
    if as_json:
        return (
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.processors.JSONRenderer(),
        )
    # A plain traceback: the pretty one shows local variables, and so secrets.
    return structlog.processors.format_exc_info, mask_secrets, structlog.dev.ConsoleRenderer()


_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def _tame_libraries(out: TextIO, *, as_json: bool, level: int) -> None:
    """Send what libraries log through the same chain, and their chatter nowhere."""
    foreign: list[Any] = [
        *_SHARED,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *_rendering(as_json=as_json),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=foreign))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
