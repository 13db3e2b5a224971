"""`x3fleet --help` stays quick: the command loads the heavy packages only when it needs them."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.architecture.source import ROOT, at, imported, is_below, product_files, tree

HEAVY = (
    "sqlalchemy",
    "alembic",
    "httpx",
    "uvicorn",
    "starlette",
    "cryptography",
    "psycopg",
    "yaml",
)
OURS = (
    "controller",
    "simulator",
    "desired_state.store",
    "desired_state.commands",
    "desired_state.queries",
    "desired_state.manifests",
)

_SHOW_LOADED = """
import json, sys
from cli.main import main
sys.argv = ["x3fleet", "--help"]
try:
    code = main()
except SystemExit as error:
    code = error.code
heavy = sorted(n for n in {names!r} if n in sys.modules)
print(json.dumps({{"code": code or 0, "heavy": heavy}}), file=sys.stderr)
"""


def top_level(module: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run at import; those under `if TYPE_CHECKING` do not."""
    for node in module.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node


def test_cli_modules_import_heavy_packages_inside_functions() -> None:
    found = [
        f"{at(path, node)} {name}"
        for path in product_files()
        if is_below(path, ("cli",))
        for node in top_level(tree(path))
        for name in imported(node)
        if any(name == heavy or name.startswith(f"{heavy}.") for heavy in (*HEAVY, *OURS))
    ]

    assert [] == found


@pytest.mark.skipif(not (ROOT / "cli/main.py").exists(), reason="cli/main.py does not exist yet")
def test_help_imports_neither_database_nor_http() -> None:
    code = _SHOW_LOADED.format(names=(*HEAVY, "aiogram", "fastapi"))

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert {"code": 0, "heavy": []} == json.loads(run.stderr.splitlines()[-1]), run.stderr
    assert "reconcile" in run.stdout
