"""Every fault of every file at once, in one error of the right class."""

import pytest

from desired_state.manifests.errors import ManifestError, ManifestSchemaError, ManifestSyntaxError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "- a\n- b\n",
            [
                "f.yaml:1:1: a document must be a mapping (begin with apiVersion, kind, metadata and spec)"
            ],
            id="list",
        ),
        pytest.param(
            "services: {}\n",
            [
                "f.yaml:1:1: apiVersion: must be 'x3fleet/v1'",
                "f.yaml:1:1: kind: is missing (one of Node, Tariff, Policy, Inbound)",
            ],
            id="something-else",
        ),
        pytest.param(
            "# nothing\n",
            [
                (
                    "f.yaml:1:1: declares nothing, and neither does another file "
                    "(take the file away, or declare a node)"
                )
            ],
            id="nothing",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(faults, text, expected) -> None:
    assert expected == faults(text)


def test_all_faults_of_all_files_are_told_at_once_in_order(faults, node, tariff) -> None:
    texts = {
        "a.yaml": "a: b: c\n",
        "b.yaml": node.replace("nl-1", "A") + "  weight: 0\n",
        "c.yaml": tariff.replace("days: 30", "days: 0") + "---\n" + tariff + "  trial: 1\n",
        "d.yaml": node,
    }

    assert [
        (
            "a.yaml:1:5: is no YAML: mapping values are not allowed in this context "
            "(check the indentation and the colons around this line)"
        ),
        (
            "b.yaml:4:9: metadata.name: has a wrong form "
            "(lower-case letters, digits and hyphens, 63 at most)"
        ),
        "b.yaml:10:11: spec.weight: must be greater than or equal to 0.001",
        "c.yaml:6:9: spec.days: must be greater than or equal to 1",
        (
            "c.yaml:10:18: metadata.name: Tariff month is declared already, at c.yaml:3:18 "
            "(names are unique: rename one of the two)"
        ),
        "c.yaml:14:10: spec.trial: must be true or false",
        (
            "d.yaml:8:10: spec.panel.url: is the panel of node A already, at b.yaml:8:10 "
            "(one panel is one node: two would delete each other's keys)"
        ),
    ] == faults(texts)


@pytest.mark.parametrize(
    ("text", "error", "code"),
    [
        pytest.param("[", ManifestSyntaxError, "manifest_syntax", id="syntax"),
        pytest.param("[]", ManifestSchemaError, "manifest_schema", id="schema"),
        pytest.param("[]\n---\n[", ManifestSyntaxError, "manifest_syntax", id="both"),
    ],
)
def test_the_error_is_of_the_gravest_kind(load, text, error, code) -> None:
    with pytest.raises(ManifestError) as caught:
        load(text)

    assert (error, code) == (type(caught.value), caught.value.code)


def test_an_error_prints_every_fault_and_lists_every_place(load) -> None:
    with pytest.raises(ManifestError) as caught:
        load("[]\n---\n- a\n")

    text = "a document must be a mapping (begin with apiVersion, kind, metadata and spec)"
    assert f"f.yaml:1:1: {text}\nf.yaml:3:1: {text}" == str(caught.value)
    assert ("f.yaml:1:1", "f.yaml:3:1") == caught.value.places
