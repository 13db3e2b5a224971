"""The shipped examples load, and say what the documents tell of them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from desired_state.manifests.kinds import KINDS
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.sources.directory import DirectorySource
from desired_state.model.node import SecretRef
from desired_state.model.ownership import DEFAULT_TEMPLATE
from desired_state.model.policy import Policy

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def bundle(name: str):
    return load_bundle(DirectorySource(EXAMPLES / name))


def test_every_example_loads_without_a_fault() -> None:
    folders = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())

    assert {"demo", "fleet"} <= set(folders)
    assert all(bundle(name).nodes for name in folders)


def test_the_demo_declares_three_panels_by_the_environment() -> None:
    demo = bundle("demo")
    login = (
        SecretRef("env", "X3FLEET_DEMO_USERNAME"),
        SecretRef("env", "X3FLEET_DEMO_PASSWORD"),
        None,
    )

    assert {
        "nl-1": ("http://127.0.0.1:20529/", *login),
        "de-1": ("http://127.0.0.1:20532/", *login),
        "fi-1": ("http://127.0.0.1:20536/", None, None, SecretRef("env", "X3FLEET_DEMO_TOKEN")),
    } == {
        node.name: (node.url, node.auth.username, node.auth.password, node.auth.token)
        for node in demo.nodes
    }


def test_the_demo_sells_one_country_every_country_and_a_trial() -> None:
    assert {
        "month-nl": ((("country", "nl"),), 1, False),
        "everywhere": ((), None, False),
        "trial": ((("tier", "basic"),), 1, True),
    } == {
        tariff.name: (tariff.nodes.labels, tariff.nodes.count, tariff.trial)
        for tariff in bundle("demo").tariffs
    }


def test_the_policy_of_the_fleet_writes_out_the_built_in_defaults() -> None:
    fleet = bundle("fleet")

    assert Policy() == next(policy for policy in fleet.policies if not policy.selector)
    assert DEFAULT_TEMPLATE == fleet.email_template


def test_the_fleet_shows_each_way_to_log_in_and_to_check_a_certificate() -> None:
    nodes = bundle("fleet").nodes
    references = {
        reference.kind
        for node in nodes
        for reference in (node.auth.token, node.auth.password, node.auth.totp_secret)
        if reference
    }

    assert {"env", "file"} == references
    assert {"verify", "ca-file", "pin"} == {node.tls.kind for node in nodes}
    assert {"enforce", "observe"} == {node.mode for node in nodes}


@pytest.mark.parametrize("document", ["docs/manifests.md"])
def test_documents_name_only_kinds_that_exist(document) -> None:
    text = (EXAMPLES.parent / document).read_text(encoding="utf-8")

    assert set(KINDS) == set(re.findall(r"^### (\w+)$", text, re.MULTILINE))


def test_a_selector_policy_of_the_fleet_keeps_what_the_fleet_says() -> None:
    fleet = bundle("fleet")
    adopted = next(policy for policy in fleet.policies if policy.name == "adopted")

    assert (
        replace(
            Policy(),
            name="adopted",
            selector=(("stage", "adopted"),),
            max_delete_share=0.05,
            max_delete_floor=2,
            load=replace(Policy().load, traffic=0.5),
        )
        == adopted
    )
