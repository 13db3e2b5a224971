"""Packages say what belongs in them, and entrances stay in theirs."""

import ast
from pathlib import Path

from tests.architecture.source import (
    PACKAGES,
    ROOT,
    at,
    imported,
    is_below,
    product_files,
    rel,
    tree,
)

ENTRANCES = ("admin", "bot", "subscription")
# Loaded by path, by alembic: a folder of scripts, no package.
NO_PACKAGE = ("desired_state/store/migrations",)


def test_every_package_init_is_a_docstring_and_nothing_else() -> None:
    """Importing a module runs every `__init__` above it; re-exports would pull the rest in."""
    wrong = [
        rel(path)
        for path in product_files()
        if path.name == "__init__.py"
        if ast.get_docstring(tree(path)) is None or len(tree(path).body) != 1
    ]

    assert [] == wrong


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in product_files() if not is_below(path, NO_PACKAGE)}

    assert [] == sorted(rel(f) for f in folders if not (f / "__init__.py").exists())


def test_every_room_of_the_house_is_shipped() -> None:
    shipped = [name for name in PACKAGES if (ROOT / name / "__init__.py").exists()]

    assert list(PACKAGES) == shipped


def test_every_module_says_what_it_is() -> None:
    """A docstring that is more than a name: at least five words."""
    thin = [
        rel(path)
        for path in product_files()
        if len((ast.get_docstring(tree(path)) or "").split()) < 5
    ]

    assert [] == thin


def test_entrances_reach_the_store_by_its_engine_alone() -> None:
    """Bot, admin and subscription use commands, queries and model; of the store only the engine."""
    reach = [
        f"{at(path, node)} {name}"
        for path in product_files()
        if is_below(path, ENTRANCES)
        for node in ast.walk(tree(path))
        for name in imported(node)
        if name.startswith("desired_state.store") and not _is_engine(name)
    ]

    assert [] == reach


def _is_engine(name: str) -> bool:
    allowed = ("desired_state.store", "desired_state.store.engine", "desired_state.store.settings")
    return name in allowed or name.startswith(("desired_state.store.engine.", allowed[2] + "."))


def test_a_product_file_never_names_a_test() -> None:
    reach = [
        at(path, node)
        for path in product_files()
        for node in ast.walk(tree(path))
        for name in imported(node)
        if Path(name.replace(".", "/")).parts[0] in {"tests", "benchmarks"}
    ]

    assert [] == reach
