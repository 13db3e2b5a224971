"""The root of the error tree and what belongs to no package.

X3FleetError                 code, message, hint
├── ConfigError              settings, secret references      (here)
├── ManifestError            desired_state/manifests/errors.py
├── StoreError               desired_state/store/errors.py
├── CommandError, AccessError    desired_state/commands/errors.py
├── PanelError               controller/panels/api/errors.py
└── LeaseError               controller/runtime/errors.py
"""


class X3FleetError(Exception):
    """Anything that x3fleet itself reports.

    Args:
        message: what went wrong and where, in one sentence, without secrets.
        hint: what a person can do about it.
    """

    code = "x3fleet_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(X3FleetError):
    """A setting or a secret reference is missing or wrong."""

    code = "config"


class InvalidValue(X3FleetError):
    """A value breaks a rule of the model; `field` names it."""

    code = "invalid_value"

    def __init__(self, field: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{field}: {message}", hint=hint)
        self.field = field
