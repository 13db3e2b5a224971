"""Pure packages take time and randomness as values; the environment has two readers, no more."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import (
    PURE,
    ROOT,
    at,
    dotted,
    imported,
    is_below,
    product_files,
    rel,
    tree,
)

CLOCKS = {"now", "utcnow", "today", "monotonic", "time_ns", "perf_counter"}
RANDOM = {"uuid1", "uuid4", "urandom", "getrandbits", "token_bytes", "token_hex", "token_urlsafe"}
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes"}
MODULES = {"os", "secrets", "random", "time", "socket", "subprocess", "threading", "logging"}

# Who may read the process's environment. pydantic-settings does it inside its own package.
ENVIRONMENT_READERS = {
    "desired_state/store/secrets.py": "resolves the references {env: NAME} of manifests",
    "cli/environment.py": "shows the operator's own variables in doctor; the demo sets its own",
}


def impurities(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield what a pure module must not do: look at a clock, throw dice, touch a file."""
    for node in ast.walk(module):
        for name in imported(node):
            if name.split(".")[0] in MODULES:
                yield node, f"import {name}"
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else dotted(called)
            if name in CLOCKS | RANDOM | FILES:
                yield node, f"{name}()"


def environment_reads(module: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every way to get at the environment of the process."""
    names = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
    for node in ast.walk(module):
        found = [n for n in (*imported(node), dotted(node)) if n in names]
        if found:
            yield node, found[0]


def test_pure_packages_have_no_clock_no_dice_and_no_files() -> None:
    found = [
        f"{at(path, node)} {what}"
        for path in product_files()
        if is_below(path, PURE)
        for node, what in impurities(tree(path))
    ]

    assert [] == found


def test_environment_is_read_by_settings_and_the_resolver_of_references_alone() -> None:
    found = [
        f"{at(path, node)} {what}"
        for path in product_files()
        if rel(path) not in ENVIRONMENT_READERS
        for node, what in environment_reads(tree(path))
    ]

    assert [] == found


def test_settings_have_the_prefix_x3fleet() -> None:
    """A class of settings without it would read variables that are not ours."""
    wrong = [
        f"{at(path, node)} {node.name}"
        for path in product_files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        if "BaseSettings" in {dotted(base).split(".")[-1] for base in node.bases}
        if not _has_prefix(node)
    ]

    assert [] == wrong


def _has_prefix(node: ast.ClassDef) -> bool:
    return any(
        keyword.arg == "env_prefix"
        and isinstance(keyword.value, ast.Constant)
        and str(keyword.value.value).startswith("X3FLEET_")
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
    )


@pytest.mark.parametrize(
    "code",
    [
        "x = datetime.now(UTC)",
        "x = date.today()",
        "x = uuid4()",
        "import secrets",
        "from time import monotonic",
        "x = open('f')",
        "x = Path('f').read_text()",
        "import os",
    ],
)
def test_an_impurity_is_seen(code: str) -> None:
    assert list(impurities(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    ["import os\nx = os.environ['A']", "from os import environ", "x = os.getenv('A')"],
)
def test_a_read_of_the_environment_is_seen(code: str) -> None:
    assert list(environment_reads(ast.parse(code)))


def test_values_of_time_are_no_clock() -> None:
    code = (
        "def f(now: datetime, secrets: tuple[str, ...]):\n    return now - timedelta(1), secrets[0]"
    )

    assert [] == list(impurities(ast.parse(code)))


def test_readers_of_the_environment_exist() -> None:
    """An entry of the list that no longer stands for a file hides nothing."""
    missing = [name for name in ENVIRONMENT_READERS if not (ROOT / name).exists()]

    assert [] == missing
