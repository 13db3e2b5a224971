"""`x3fleet config show`: the settings in force, secrets masked.

Not here: reading settings (each package's `settings.py`), checking what they lead to (`doctor`).
"""

from typing import TYPE_CHECKING, Any

from cli.exits import Exit
from cli.opening import MASK, shown_url
from cli.render import Grid, Output, OutputOption, Page, show

if TYPE_CHECKING:
    from controller.settings import ControllerSettings
    from desired_state.commands.settings import PruneSettings
    from desired_state.manifests.settings import SyncSettings
    from desired_state.store.backup.settings import BackupSettings


def show_settings(*, output: OutputOption = Output.TABLE) -> Exit:
    """Show the settings in force; secrets are masked."""
    from controller.settings import load_settings
    from desired_state.commands.settings import load_prune_settings
    from desired_state.manifests.settings import load_sync_settings
    from desired_state.store.backup.settings import load_backup_settings

    document = describe(
        load_settings(), load_sync_settings(), load_prune_settings(), load_backup_settings()
    )
    rows = tuple((name, "" if value is None else str(value)) for name, value in document.items())
    show(Page({"settings": document}, (Grid(("VARIABLE", "VALUE"), rows),)), output)
    return Exit.DONE


def describe(
    settings: "ControllerSettings",
    sync: "SyncSettings | None" = None,
    kept: "PruneSettings | None" = None,
    backups: "BackupSettings | None" = None,
) -> dict[str, Any]:
    """Name every setting as its variable, with the value that holds; nothing secret in it."""
    from desired_state.commands.settings import PruneSettings
    from desired_state.manifests.settings import SyncSettings
    from desired_state.store.backup.settings import BackupSettings
    from desired_state.store.keyring import key_file

    path = key_file(settings.store)
    keys = [MASK for _ in settings.store.encryption_keys]
    return {
        "X3FLEET_DATABASE__URL": shown_url(settings.store),
        "X3FLEET_DATABASE__KEY_FILE": None if keys or path is None else str(path.absolute()),
        "X3FLEET_ENCRYPTION_KEYS": ",".join(keys) or None,
        "X3FLEET_CONTROLLER__WRITING_S": settings.turns.writing_s,
        "X3FLEET_CONTROLLER__TURN_S": settings.turns.turn_s,
        **_parts("CONTROLLER__", settings.service.model_dump()),
        **_parts("", {"sync": (sync or SyncSettings()).model_dump()}),
        **_parts("", {"retention": (kept or PruneSettings()).model_dump()}),
        **_parts("", {"backup": (backups or BackupSettings()).model_dump()}),
    }


def _parts(prefix: str, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Settings of parts, each under its name; what pydantic holds as a secret is masked."""
    shown: dict[str, Any] = {}
    for part, values in parts.items():
        for name, value in values.items():
            several = value if isinstance(value, tuple) else (value,)
            plain = [_plain(one) for one in several]
            text = ",".join(map(str, plain)) or None if isinstance(value, tuple) else plain[0]
            shown[f"X3FLEET_{prefix}{part}__{name}".upper()] = text
    return shown


def _plain(value: object) -> object:
    from pathlib import Path

    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return MASK
    return str(value) if isinstance(value, Path) else value
