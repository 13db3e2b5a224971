"""The files of this repository as the architecture tests read them: paths, texts, syntax trees."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "desired_state",
    "controller",
    "admin",
    "bot",
    "subscription",
    "cli",
    "payments",
    "simulator",
)
PURE = ("controller/core", "desired_state/model", "desired_state/scheduling", "desired_state/links")
_NOT_OURS = {".git", ".venv", "build", "mutants", "__pycache__", ".demo"}
_TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".html", ".service", ".timer", ""}


@cache
def product_files() -> tuple[Path, ...]:
    """Python files of the packages that are shipped."""
    return tuple(sorted(f for p in PACKAGES for f in (ROOT / p).rglob("*.py") if _is_ours(f)))


@cache
def files_of_tests() -> tuple[Path, ...]:
    """Python files below tests/."""
    return tuple(sorted(f for f in (ROOT / "tests").rglob("*.py") if _is_ours(f)))


@cache
def text_files() -> tuple[Path, ...]:
    """Every text file that git tracks, or would; all files where there is no git."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        files = [ROOT / line for line in listing.stdout.splitlines()]
    else:
        files = [f for f in ROOT.rglob("*") if _is_ours(f)]
    return tuple(sorted(f for f in files if f.suffix in _TEXT and f.is_file()))


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text(), filename=str(path))


def rel(path: Path) -> str:
    """Name a file as a person would."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def at(path: Path, node: ast.AST) -> str:
    """Name a place as an editor understands it."""
    return f"{rel(path)}:{getattr(node, 'lineno', 0)}"


def is_below(path: Path, folders: tuple[str, ...]) -> bool:
    """Tell whether a file lies in one of these folders."""
    return any(rel(path).startswith(f"{folder}/") for folder in folders)


def dotted(node: ast.AST) -> str:
    """Write `a.b.c` of a name or attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def imported(node: ast.AST) -> tuple[str, ...]:
    """Full names that an import statement brings in; empty for any other node."""
    if isinstance(node, ast.Import):
        return tuple(alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        return (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    return ()


def marks(name: str) -> dict[str, list[str]]:
    """Arguments of every `@pytest.mark.<name>(...)` below tests/, with the places they stand at."""
    found: dict[str, list[str]] = {}
    for path in files_of_tests():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and dotted(node.func) == f"pytest.mark.{name}":
                for arg in node.args:
                    found.setdefault(str(ast.literal_eval(arg)), []).append(at(path, node))
    return found


def _is_ours(path: Path) -> bool:
    return path.is_file() and not _NOT_OURS & set(path.relative_to(ROOT).parts)
