"""Which dialect an API family is spoken to in. Callers: `observe`, `act`."""

from controller.core.features import Family, Features
from controller.panels.dialects.dialect import Dialect
from controller.panels.dialects.v2 import DialectV2
from controller.panels.dialects.v3 import DialectV3

_DIALECTS: dict[Family, Dialect] = {
    Family.V2: DialectV2(),
    # QUIRK(hybrid-family, 3x-ui 3.0.0 to 3.0.2): sessions as later, clients as before.
    Family.V30: DialectV2(),
    Family.V31: DialectV3(),
}


def dialect_of(features: Features) -> Dialect:
    """Return the dialect of a version."""
    return _DIALECTS[features.family]
