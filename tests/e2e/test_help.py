"""Help costs little: it is measured by what is imported, never by a clock."""

import json
import subprocess
import sys

from cli.main import COMMANDS, GROUPS
from tests.e2e.operator import ROOT

HEAVY = (
    "sqlalchemy", "alembic", "httpx", "uvicorn", "starlette", "cryptography", "psycopg", "yaml",
    "pydantic", "structlog", "controller", "simulator", "desired_state.store",
    "desired_state.commands", "desired_state.queries", "desired_state.manifests",
)  # fmt: skip
MODULES_AT_MOST = 700
"""Some 500 are cyclopts, rich and the standard library; sqlalchemy alone would add 200."""
_ASK = """
import contextlib, io, json, sys
from cli.main import main
asked = json.loads(sys.argv[1])
answers = []
for words in asked:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main([*words, "--help"])
    answers.append([code, out.getvalue()])
heavy = sorted(name for name in json.loads(sys.argv[2]) if name in sys.modules)
print(json.dumps({"answers": answers, "heavy": heavy, "modules": len(sys.modules)}))
"""


def test_help_of_every_command_loads_neither_database_nor_http(report_line) -> None:
    """All of them in one process: what one loads, another cannot hide."""
    asked = [[], *([name] for name in GROUPS), *(words.split() for words, _, _ in COMMANDS)]

    run = subprocess.run(
        [sys.executable, "-c", _ASK, json.dumps(asked), json.dumps(HEAVY)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    answer = json.loads(run.stdout)
    report_line(f"modules loaded by the help of every command: {answer['modules']}")
    texts = [" ".join(text.split()) for _, text in answer["answers"]]
    assert [0] * len(asked) == [code for code, _ in answer["answers"]]
    assert [] == answer["heavy"]
    assert answer["modules"] < MODULES_AT_MOST
    for (words, _, told), text in zip(COMMANDS, texts[1 + len(GROUPS) :], strict=True):
        assert f"Usage: x3fleet {words}" in text
        assert told in text
