"""Rules, dashboards and documents speak of metrics that the code has, and of nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.architecture.metrics_table import OURS, series, table
from tests.architecture.source import ROOT
from tests.tools import PROMTOOL, needs_promtool

RULES = ROOT / "deploy/prometheus/rules.yml"
CASES = ROOT / "deploy/prometheus/rules_test.yml"
INHIBIT = ROOT / "deploy/prometheus/inhibit.yml"
DASHBOARDS = tuple(sorted((ROOT / "deploy/grafana").glob("*.json")))
RUNBOOK = ROOT / "docs/runbook.md"
METRICS = ROOT / "docs/metrics.md"
NAME = re.compile(rf"\b(?:{'|'.join(OURS)})[a-z_]+")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def names_in(text: str) -> set[str]:
    return set(NAME.findall(text))


def expressions(part: Any) -> Iterator[str]:
    """Every query of a dashboard, at any depth."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in {"expr", "query", "definition"} and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)


def test_every_metric_of_a_rule_exists() -> None:
    assert set() == {name for rule in rules() for name in names_in(rule["expr"])} - series()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_metric_of_a_dashboard_exists(path: Any) -> None:
    queries = list(expressions(json.loads(path.read_text())))

    assert set() == {name for query in queries for name in names_in(query)} - series()
    assert len(queries) > 10


def test_a_name_that_the_code_does_not_have_is_found() -> None:
    """The audit can fail."""
    assert {"x3fleet_invented_total"} == names_in("rate(x3fleet_invented_total[5m])") - series()


def test_dashboards_hold_no_address_and_no_source_of_their_own() -> None:
    for path in DASHBOARDS:
        text = path.read_text()

        assert "://" not in text
        assert {"${datasource}"} == set(re.findall(r'"uid": "([^"]*)"', text)) - {"x3fleet-fleet"}


def test_every_rule_has_a_severity_a_summary_and_a_section_of_the_runbook() -> None:
    sections = {line[3:] for line in RUNBOOK.read_text().splitlines() if line.startswith("## X3")}
    incomplete = [
        rule["alert"]
        for rule in rules()
        if rule["labels"].get("severity") not in {"info", "warning", "critical"}
        or not rule["annotations"].get("summary")
        or rule["annotations"]["runbook"] != f"docs/runbook.md#{rule['alert'].lower()}"
    ]

    assert [] == incomplete
    assert {rule["alert"] for rule in rules()} == sections


def test_every_rule_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    seen = {
        (check["alertname"], bool(check["exp_alerts"]))
        for case in yaml.safe_load(CASES.read_text())["tests"]
        for check in case["alert_rule_test"]
    }

    assert {(rule["alert"], fires) for rule in rules() for fires in (True, False)} == seen


def test_inhibitions_name_rules_that_exist() -> None:
    named = set(re.findall(r"X3fleet\w+", INHIBIT.read_text()))

    assert set() == named - {rule["alert"] for rule in rules()}


@needs_promtool
@pytest.mark.parametrize(
    "arguments", [("check", "rules", RULES.name), ("test", "rules", CASES.name)], ids=" ".join
)
def test_promtool_accepts_the_rules(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=RULES.parent, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_document_lists_every_metric_as_the_code_has_it() -> None:
    """`python -m tests.architecture.metrics_table` prints the table."""
    assert table() in METRICS.read_text()
