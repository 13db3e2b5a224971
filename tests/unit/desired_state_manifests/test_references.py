"""What documents that are right by themselves make wrong together, and what they do not."""

import pytest


def node(name: str, labels: str = "{country: nl}", url: str | None = None, more: str = "") -> str:
    return (
        f"apiVersion: x3fleet/v1\nkind: Node\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n"
        f"  panel:\n    url: {url or f'https://{name}.example.net/'}\n"
        f"    auth: {{token: {{env: T}}}}\n{more}---\n"
    )


def tariff(nodes: str, name: str = "month") -> str:
    return (
        f"apiVersion: x3fleet/v1\nkind: Tariff\nmetadata: {{name: {name}}}\n"
        f"spec: {{title: {{ru: a, en: b}}, days: 30, nodes: {nodes}}}\n---\n"
    )


def policy(name: str, spec: str) -> str:
    return f"apiVersion: x3fleet/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


def test_names_are_unique_within_a_kind_and_over_all_files(faults) -> None:
    texts = {
        "a.yaml": node("nl-1") + tariff("{}", "nl-1"),
        "b.yml": node("nl-1", url="https://other.example.net/"),
    }

    assert [
        (
            "b.yml:3:18: metadata.name: Node nl-1 is declared already, at a.yaml:3:18 "
            "(names are unique: rename one of the two)"
        )
    ] == faults(texts)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://nl-1.example.net", id="slash"),
        pytest.param("https://NL-1.example.net/", id="case"),
        pytest.param("https://nl-1.example.net:443/", id="default-port"),
        pytest.param("http://nl-1.example.net:443/", id="scheme"),
        pytest.param("https://nl-1.example.net./", id="dot"),
    ],
)
def test_one_panel_is_one_node_however_its_url_is_written(faults, url) -> None:
    assert [
        (
            "f.yaml:14:10: spec.panel.url: is the panel of node nl-1 already, at f.yaml:6:10 "
            "(one panel is one node: two would delete each other's keys)"
        )
    ] == faults(node("nl-1") + node("nl-2", url=url))


def test_panels_that_share_a_host_are_two(load) -> None:
    bundle = load(
        node("nl-1", url="https://h.example/a/")
        + node("nl-2", url="https://h.example/b/")
        + node("nl-3", url="https://h.example:2053/a/")
    )

    assert 3 == len(bundle.nodes)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param(
            "{selector: {countri: nl}}",
            "spec.nodes.selector.countri: no node has a label countri (did you mean country?)",
            id="unknown-label",
        ),
        pytest.param(
            "{selector: {country: nk}}",
            "spec.nodes.selector.country: no node has the label country: nk (did you mean nl?)",
            id="unknown-value",
        ),
        pytest.param(
            "{selector: {country: x}}",
            "spec.nodes.selector.country: no node has the label country: x (known are de, nl)",
            id="value-far-from-all",
        ),
        pytest.param(
            "{selector: {country: de, tier: a}}",
            (
                "spec.nodes.selector: selects no node "
                "(each label is carried by some node, all together by none)"
            ),
            id="labels-that-nobody-carries-together",
        ),
        pytest.param(
            "{selector: {country: nl}, count: 3}",
            ("spec.nodes.count: asks for 3 nodes, and its selector has 2 (lower it, or write all)"),
            id="more-nodes-than-there-are",
        ),
    ],
)
def test_a_selector_of_a_tariff_must_select(faults, nodes, expected) -> None:
    fleet = (
        node("nl-1", "{country: nl, tier: a}")
        + node("nl-2")
        + node("de-1", "{country: de, tier: b}")
    )

    (fault,) = faults(fleet + tariff(nodes))

    assert expected == fault.split(": ", maxsplit=1)[1]


def test_a_selector_of_a_policy_must_select_too(faults) -> None:
    text = node("nl-1") + policy("p", "{selector: {tier: a}}")

    assert [
        "f.yaml:12:19: spec.selector.tier: no node has a label tier (known are country)"
    ] == faults(text)


def test_every_unknown_label_is_told(faults) -> None:
    text = node("nl-1") + tariff("{selector: {tier: a, stage: b}}")

    assert [
        "f.yaml:12:60: spec.nodes.selector.tier: no node has a label tier (known are country)",
        "f.yaml:12:69: spec.nodes.selector.stage: no node has a label stage (known are country)",
    ] == faults(text)


def test_without_nodes_only_the_empty_selector_selects(load, faults) -> None:
    assert 1 == len(load(tariff("{count: all}")).tariffs)
    assert [
        "f.yaml:4:60: spec.nodes.selector.tier: no node has a label tier (no node has any label)"
    ] == faults(tariff("{selector: {tier: a}}"))


def test_labels_of_a_wrong_node_count_as_known(faults) -> None:
    """One fault must not draw others after it."""
    text = node("nl-1", more="  weight: 0\n") + tariff("{selector: {country: nl}}")

    assert ["f.yaml:8:11: spec.weight: must be greater than or equal to 0.001"] == faults(text)


def test_no_selector_is_called_wrong_beside_a_file_that_cannot_be_read(faults) -> None:
    texts = {"a.yaml": node("nl-1") + "a: b: c", "b.yaml": tariff("{selector: {country: de}}")}

    assert ["a.yaml:9:5"] == [fault.split(": ")[0] for fault in faults(texts)]


def test_no_selector_is_called_wrong_beside_a_node_of_unknown_labels(faults) -> None:
    text = node("nl-1", "[country]") + tariff("{selector: {country: nl}}")

    assert ["f.yaml:3:32"] == [fault.split(": ")[0] for fault in faults(text)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("{}", "{requireXray: false}", id="two-for-the-fleet"),
        pytest.param("{selector: {country: nl}}", "{selector: {country: nl}}", id="two-for-one"),
    ],
)
def test_no_two_policies_select_the_same(faults, first, second) -> None:
    text = node("nl-1") + policy("a", first) + policy("b", second)

    (fault,) = faults(text)

    assert fault.endswith(
        "selects what policy a selects, at f.yaml:11:18 "
        "(join the two: one of them would never apply)"
    )


def test_what_counts_for_the_fleet_stands_in_the_policy_of_the_fleet(faults) -> None:
    spec = (
        "{selector: {country: nl}, emailTemplate: 'y-{key}-{generation}', "
        "guards: {fleetDeletes: {share: 0.1}}}"
    )

    text = (
        "counts for the fleet: only a policy without selector may hold it (move it to that policy)"
    )
    assert [
        f"f.yaml:12:33: spec.emailTemplate: {text}",
        f"f.yaml:12:81: spec.guards.fleetDeletes: {text}",
    ] == faults(node("nl-1") + policy("p", spec))


@pytest.mark.parametrize("selector", ["[country]", "{country: 7}"])
def test_a_selector_that_is_none_is_told_once(faults, selector) -> None:
    (fault,) = faults(node("nl-1") + policy("p", f"{{selector: {selector}}}"))

    assert "must be" in fault


def test_relative_paths_need_a_folder(faults, load) -> None:
    more = "    tls: {verify: {caFile: ca.pem}}\n"
    text = node("nl-1", more=more).replace("{env: T}", "{file: secrets/t}")

    said = "is a relative path, and these manifests come from no folder on this machine"
    assert [
        f"f.yaml:7:26: spec.panel.auth.token.file: {said} (write an absolute path)",
        f"f.yaml:8:28: spec.panel.tls.verify.caFile: {said} (write an absolute path)",
    ] == faults(text, folder=None)
    absolute = text.replace("secrets/t", "/run/t").replace("ca.pem", "/etc/ca.pem")
    assert 1 == len(load(absolute, folder=None).nodes)
