"""`x3fleet config show`: the settings in force, secrets masked.

Not here: reading settings (each package's `settings.py`), checking what they lead to (`doctor`).
"""

from typing import TYPE_CHECKING, Any

from cli.exits import Exit
from cli.opening import MASK, shown_url
from cli.render import Grid, Output, OutputOption, Page, show

if TYPE_CHECKING:
    from controller.settings import ControllerSettings


def show_settings(*, output: OutputOption = Output.TABLE) -> Exit:
    """Show the settings in force; secrets are masked."""
    from controller.settings import load_settings

    document = describe(load_settings())
    rows = tuple((name, "" if value is None else str(value)) for name, value in document.items())
    show(Page({"settings": document}, (Grid(("VARIABLE", "VALUE"), rows),)), output)
    return Exit.DONE


def describe(settings: "ControllerSettings") -> dict[str, Any]:
    """Name every setting as its variable, with the value that holds; nothing secret in it."""
    from desired_state.store.keyring import key_file

    path = key_file(settings.store)
    keys = [MASK for _ in settings.store.encryption_keys]
    return {
        "X3FLEET_DATABASE__URL": shown_url(settings.store),
        "X3FLEET_DATABASE__KEY_FILE": None if keys or path is None else str(path.absolute()),
        "X3FLEET_ENCRYPTION_KEYS": ",".join(keys) or None,
        "X3FLEET_CONTROLLER__WRITING_S": settings.turns.writing_s,
        "X3FLEET_CONTROLLER__TURN_S": settings.turns.turn_s,
        **_parts(settings),
    }


def _parts(settings: "ControllerSettings") -> dict[str, Any]:
    """Settings of the parts of the service; what pydantic holds as a secret is masked."""
    from pydantic import SecretStr

    shown: dict[str, Any] = {}
    for part, values in settings.service.model_dump().items():
        for name, value in values.items():
            several = value if isinstance(value, tuple) else (value,)
            plain = [MASK if isinstance(one, SecretStr) else one for one in several]
            text = ",".join(map(str, plain)) or None if isinstance(value, tuple) else plain[0]
            shown[f"X3FLEET_CONTROLLER__{part}__{name}".upper()] = text
    return shown
