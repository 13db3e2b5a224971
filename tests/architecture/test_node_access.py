"""A node's address and credentials have one home: one command writes them, one query reads them.

The shop that we come from built panel clients in five places, some of them without their node's
address and password. Here a `NodeTarget` is built in one place, and whoever else so much as names
an address or a credential of a node stands below, with the reason.
"""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import at, dotted, imported, product_files, rel, tree

# Types that carry credentials or the way to them.
SECRET_TYPES = {"AuthRefs", "Credentials", "SecretRef"}
# Fields that say where a panel is and how it is opened, on whatever is named like a node.
FIELDS = {"url", "auth", "tls", "credentials", "address"}
HOLDERS = {"spec", "node", "target", "declared", "node_spec", "node_target", "panel"}

READERS = {
    "desired_state/model/node.py": "defines the values",
    "desired_state/manifests/": "makes a spec of a document; refuses one panel declared twice",
    "desired_state/store/secrets.py": "resolves references to secrets",
    "desired_state/queries/node.py": "the one query that yields a NodeTarget",
    "desired_state/commands/nodes.py": "the one writer; refuses one panel declared twice",
    "simulator/": "knows no node; its panel has a `panel.auth` of its own",
    "controller/panels/": "talks to the panel that its NodeTarget names",
    "cli/doctor/endpoints.py": "compares every address that it finds with the declared ones",
    "cli/demo/fleet/choosing.py": "makes up nodes that nobody calls, to choose among them",
    "controller/runtime/permission.py": "compares two targets before each write",
}
BUILDERS = {
    "desired_state/model/node.py": "defines the values",
    "desired_state/store/secrets.py": "resolves references to `Credentials`",
    "desired_state/queries/node.py": "the one query that yields a `NodeTarget`",
}


def reads(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every place that gets at a node's address or credentials."""
    for node in ast.walk(module):
        for name in imported(node):
            if name.split(".")[-1] in SECRET_TYPES and "model.node" in name:
                yield node, f"imports {name.split('.')[-1]}"
        if isinstance(node, ast.Attribute) and node.attr in FIELDS:
            holder = dotted(node.value).split(".")[-1].removeprefix("_")
            if holder in HOLDERS:
                yield node, f"reads {holder}.{node.attr}"
        if isinstance(node, ast.Subscript) and dotted(node.value).split(".")[-1] == "spec":
            yield node, "reads a stored spec by key"


def builds(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every place that makes a `NodeTarget` or `Credentials`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            name = dotted(node.func).split(".")[-1]
            if name in {"NodeTarget", "Credentials"}:
                yield node, f"builds {name}"


def outside(allowed: dict[str, str], find: object) -> list[str]:
    assert callable(find)
    return [
        f"{at(path, node)} {what}"
        for path in product_files()
        if not any(rel(path).startswith(place) for place in allowed)
        for node, what in find(tree(path))
    ]


def test_nothing_else_reads_a_nodes_address_or_credentials() -> None:
    assert [] == outside(READERS, reads)


def test_connections_are_built_in_one_place() -> None:
    """`Credentials` come from the resolver, a `NodeTarget` from the one query."""
    assert [] == outside(BUILDERS, builds)


def test_at_most_one_query_builds_node_targets() -> None:
    files = {
        rel(path)
        for path in product_files()
        for _, what in builds(tree(path))
        if what == "builds NodeTarget"
    }

    assert 1 >= len(files), files


@pytest.mark.parametrize("allowed", [READERS, BUILDERS], ids=["readers", "builders"])
def test_every_exception_stands_for_code_that_exists(allowed: dict[str, str]) -> None:
    files = [rel(path) for path in product_files()]

    assert [] == [a for a in allowed if not any(file.startswith(a) for file in files)]
    assert [] == [place for place, reason in allowed.items() if len(reason.split()) < 3]


@pytest.mark.parametrize(
    "code",
    [
        "x = node.spec.url",
        "x = self._target.credentials.token",
        "x = target.tls",
        "host = spec.address",
        "x = row.spec['panel']['url']",
        "from desired_state.model.node import Credentials",
    ],
)
def test_a_read_is_seen(code: str) -> None:
    assert list(reads(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["x = client.auth", "x = settings.url", "x = node.name", "x = node.spec.labels"],
)
def test_other_fields_are_left_alone(code: str) -> None:
    assert [] == list(reads(ast.parse(code)))


def test_building_a_connection_is_seen() -> None:
    code = "x = node.NodeTarget(a, b, Credentials(token=t), d, e)"

    assert ["builds NodeTarget", "builds Credentials"] == [w for _, w in builds(ast.parse(code))]
