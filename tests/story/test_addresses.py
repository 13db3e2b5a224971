"""The first lines of the story: where a node's address stands, and who may read it."""

import pytest

from tests.architecture import test_hardcode, test_node_access


@pytest.mark.story("hard-coded-address")
def test_an_address_in_a_source_file_fails_the_build() -> None:
    """Nothing that is shipped holds an address; each exception is listed with its reason."""
    left = [f for f in test_hardcode.findings() if not test_hardcode.is_allowed(f)]

    assert [] == left


@pytest.mark.story("connection-without-its-node")
def test_connections_are_built_from_their_node_in_one_place() -> None:
    """No code but one query makes a connection, and it takes the whole of it from one node."""
    assert [] == test_node_access.outside(test_node_access.BUILDERS, test_node_access.builds)
