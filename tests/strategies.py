"""Hypothesis strategies that several suites share: letters of keys, nodes, faults, whole worlds.

Callers: property tests, the state machine. Not here: what must hold.
"""

from hypothesis import strategies as st

from tests.fakes.faults import LOOKS, SINGLE_WRITES, Fault
from tests.fakes.people import DE, NL

ANY_FAULT = (*LOOKS, *SINGLE_WRITES, Fault.CRASH, Fault.CRASH, Fault.BUSY, Fault.FENCED)
"""Faults fall where they fit: one that does not suit its effect does nothing."""


def key_letters() -> st.SearchStrategy[str]:
    """Few keys, so that acts meet on the same one."""
    return st.sampled_from("abcd")


def nodes() -> st.SearchStrategy[str]:
    """One of the two nodes, the first more often."""
    return st.sampled_from((NL, NL, DE))


def faults() -> st.SearchStrategy[Fault]:
    """Any fault."""
    return st.sampled_from(ANY_FAULT)


def fault_maps(last_effect: int = 11) -> st.SearchStrategy[dict[int, Fault]]:
    """Up to two faults of one turn, by the number of the effect."""
    return st.dictionaries(st.integers(0, last_effect), faults(), max_size=2)
