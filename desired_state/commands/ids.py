"""Ids and tokens that nobody can guess. Callers: commands. Not here: names that people choose."""

import base64

from desired_state.store.clock import Randomness

_ID_BYTES = 7
"""56 random bits; ten base32 characters show 50 of them: no two installations ever meet."""
_TOKEN_BYTES = 15
"""120 bits, exactly 24 base32 characters."""


def draw_id(randomness: Randomness) -> str:
    """Draw the id of a key or a subscription: ten lower-case base32 characters."""
    return base64.b32encode(randomness.draw(_ID_BYTES)).decode().lower()[:10]


def draw_token(randomness: Randomness) -> str:
    """Draw a token of a request: 24 lower-case base32 characters."""
    return base64.b32encode(randomness.draw(_TOKEN_BYTES)).decode().lower()
