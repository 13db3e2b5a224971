"""Each kind of wrong document gives its error at its place, and nothing else."""

import pytest


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            "x3fleet/v1",
            "x3fleet/v2",
            "f.yaml:1:13: apiVersion: must be 'x3fleet/v1'",
            id="version",
        ),
        pytest.param(
            "kind: Node",
            "kind: node",
            "f.yaml:2:7: kind: is not known (did you mean Node?)",
            id="kind",
        ),
        pytest.param(
            "name: nl-1",
            "name: NL_1",
            "f.yaml:4:9: metadata.name: has a wrong form "
            "(lower-case letters, digits and hyphens, 63 at most)",
            id="name",
        ),
        pytest.param(
            "  name: nl-1\n", "", "f.yaml:4:3: metadata.name: is missing", id="missing-name"
        ),
        pytest.param(
            "{country: nl}",
            "{country: 7}",
            "f.yaml:5:21: metadata.labels.country: must be text (put it in quotes)",
            id="number-as-label",
        ),
        pytest.param(
            "{country: nl}",
            "{'coun try': nl}",
            "f.yaml:5:12: metadata.labels.coun try: has a wrong form "
            "(letters, digits, dots, hyphens and underscores, 63 at most)",
            id="name-of-label",
        ),
        pytest.param(
            "{country: nl}",
            "[nl]",
            "f.yaml:5:11: metadata.labels: must be a mapping (indented lines of `name: value`)",
            id="list-as-labels",
        ),
        pytest.param(
            "https://nl1.example.net:2053/panel-path/",
            "https://nl1.example.net:70000/",
            "f.yaml:8:10: spec.panel.url: has a port that is no number from 1 to 65535 "
            "(write it as scheme://host:port/base-path/)",
            id="port-of-panel",
        ),
        pytest.param(
            "{token: {env: NL1_TOKEN}}",
            "{token: hunter2}",
            "f.yaml:9:19: spec.panel.auth.token: is a secret in plain text (write {env: NAME} or "
            "{file: PATH}, and change this secret: it was seen)",
            id="plain-text-secret",
        ),
        pytest.param(
            "{token: {env: NL1_TOKEN}}",
            "{token: 12345}",
            "f.yaml:9:19: spec.panel.auth.token: is a secret in plain text (write {env: NAME} or "
            "{file: PATH}, and change this secret: it was seen)",
            id="plain-number-as-secret",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{env: 'hunter-2'}",
            "f.yaml:9:25: spec.panel.auth.token.env: has a wrong form "
            "(the name of a variable, such as NL1_TOKEN, never the secret itself)",
            id="secret-as-variable",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{ciphertext: hunter2}",
            "f.yaml:9:32: spec.panel.auth.token.ciphertext: has a wrong form "
            "(what encrypting with this installation's key printed)",
            id="secret-as-ciphertext",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{env: A, file: b}",
            "f.yaml:9:19: spec.panel.auth.token: must hold exactly one of env, file and ciphertext",
            id="two-references",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{}",
            "f.yaml:9:19: spec.panel.auth.token: must hold exactly one of env, file and ciphertext",
            id="no-reference",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{file: ~/token}",
            "f.yaml:9:26: spec.panel.auth.token.file: begins with ~, which is not expanded "
            "(write the whole path)",
            id="home-folder",
        ),
        pytest.param(
            "{env: NL1_TOKEN}}",
            "{env: NL1_TOKEN}, hunter2: x}",
            "f.yaml:9:37: spec.panel.auth: holds a name that is not known here "
            "(known are token, username, password, totpSecret, loginSecret)",
            id="a-name-that-may-be-the-secret",
        ),
        pytest.param(
            "{env: NL1_TOKEN}}",
            "{env: NL1_TOKEN}, hunter2: }",
            "f.yaml:9:37: spec.panel.auth: has no value "
            "(write one, or take the line out for the default)",
            id="a-name-that-may-be-the-secret-without-a-value",
        ),
        pytest.param(
            "{env: NL1_TOKEN}",
            "{file: ''}",
            "f.yaml:9:26: spec.panel.auth.token.file: is no path",
            id="no-path",
        ),
        pytest.param(
            "{token: {env: NL1_TOKEN}}",
            "{username: {env: U}}",
            "f.yaml:9:11: spec.panel.auth: needs a token, or both username and password",
            id="half-a-login",
        ),
        pytest.param(
            "{token: {env: NL1_TOKEN}}",
            "{token: {env: T}, totpSecret: {env: S}}",
            "f.yaml:9:11: spec.panel.auth: holds a token and another way to log in "
            "(keep one of the two)",
            id="two-logins",
        ),
        pytest.param(
            "    auth: {token: {env: NL1_TOKEN}}\n",
            "",
            "f.yaml:8:5: spec.panel.auth: is missing",
            id="no-login",
        ),
    ],
)
def test_a_wrong_node_is_refused_at_its_place(faults, node, old, new, expected) -> None:
    assert old in node

    assert [expected] == faults(node.replace(old, new))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            "  wieght: 2", "11:3: spec.wieght: is not known here (did you mean weight?)", id="typo"
        ),
        pytest.param(
            "  location: nl",
            "11:3: spec.location: is not known here (known are panel, address, inbounds, capacity, "
            "weight, priority, mode, schedulable, drain, deletionPolicy)",
            id="unknown-name",
        ),
        pytest.param(
            "  weight: 0", "11:11: spec.weight: must be greater than or equal to 0.001", id="weight"
        ),
        pytest.param(
            "  weight: .inf",
            "11:11: spec.weight: must be a number (plain digits, without quotes)",
            id="infinite",
        ),
        pytest.param(
            "  weight: 1e999",
            "11:11: spec.weight: must be less than or equal to 1000000",
            id="overflow",
        ),
        pytest.param(
            "  priority: high",
            "11:13: spec.priority: must be a whole number (plain digits, without quotes)",
            id="priority",
        ),
        pytest.param(
            "  mode: loud",
            "11:9: spec.mode: must be 'enforce', 'upsert-only', 'observe' or 'paused'",
            id="mode",
        ),
        pytest.param("  drain: yes", "11:10: spec.drain: must be true or false", id="yes"),
        pytest.param(
            "  deletionPolicy: orphan",
            "11:19: spec.deletionPolicy: must be 'Orphan' or 'Drain'",
            id="deletion-policy",
        ),
        pytest.param(
            "  capacity:",
            "11:3: spec.capacity: has no value (write one, or take the line out for the default)",
            id="no-value",
        ),
        pytest.param(
            "  capacity: {keys: 0}",
            "11:20: spec.capacity.keys: must be greater than or equal to 1",
            id="capacity",
        ),
        pytest.param(
            "  capacity: 500",
            "11:13: spec.capacity: must be a mapping (indented lines of `name: value`)",
            id="capacity-as-number",
        ),
        pytest.param(
            "  inbounds: {match: {port: 443}}",
            "11:21: spec.inbounds.match: must be a list (lines that begin with a hyphen)",
            id="match-as-mapping",
        ),
        pytest.param(
            "  inbounds: {match: [{port: 1}, {port: 65536}]}",
            "11:40: spec.inbounds.match[1].port: must be less than or equal to 65535",
            id="port-of-inbound",
        ),
        pytest.param(
            "  inbounds: {match: [{port: 1}, {port: 1, flow: ''}]}",
            "11:13: spec.inbounds: has two entries that choose the same inbounds "
            "(keep one of them)",
            id="two-flows",
        ),
        pytest.param(
            "  inbounds: {match: [null]}",
            "11:22: spec.inbounds.match[0]: has no value "
            "(write one, or take the line out for the default)",
            id="empty-entry",
        ),
        pytest.param(
            "  address: https://nl1.example.net/",
            "11:12: spec.address: has a host that is no IPv6 address "
            "(a host alone: no scheme, port or path)",
            id="address",
        ),
    ],
)
def test_a_wrong_line_below_a_node_is_refused_at_its_place(faults, node, lines, expected) -> None:
    text = node.replace("  panel:", "  # a comment\n  panel:") + f"{lines}\n"

    assert [f"f.yaml:{expected}"] == faults(text)


@pytest.mark.parametrize(
    ("verify", "expected"),
    [
        pytest.param("yes", "10:19: spec.panel.tls.verify: must be true or false", id="yes"),
        pytest.param(
            "{caFile: a, pinSha256: b}",
            "10:42: spec.panel.tls.verify.pinSha256: has a wrong form "
            "(64 hex digits, in pairs with or without colons between them)",
            id="short-pin",
        ),
        pytest.param(
            "{}",
            "10:19: spec.panel.tls.verify: must hold exactly one of caFile and pinSha256",
            id="nothing",
        ),
        pytest.param(
            "{cafile: a}",
            "10:20: spec.panel.tls.verify.cafile: is not known here (did you mean caFile?)",
            id="typo",
        ),
    ],
)
def test_a_wrong_check_of_the_certificate_is_refused(faults, node, verify, expected) -> None:
    assert [f"f.yaml:{expected}"] == faults(f"{node}    tls: {{verify: {verify}}}\n")


def test_a_check_of_a_certificate_needs_https(faults, node) -> None:
    text = node.replace("https://", "http://") + "    tls: {verify: true}\n"

    assert [
        "f.yaml:8:5: spec.panel: has tls beside an http url (write https, or take tls away)"
    ] == faults(text)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param("days: 0", "6:9: spec.days: must be greater than or equal to 1", id="days"),
        pytest.param(
            "traffic: 200",
            "7:12: spec.traffic: is no size (write a number with its unit: 200GiB, 1.5TB, 500MB)",
            id="size-without-unit",
        ),
        pytest.param(
            "traffic: 3iB", "7:12: spec.traffic: has an unknown unit (use GiB or GB)", id="unit"
        ),
        pytest.param(
            "traffic: 0GiB",
            "7:12: spec.traffic: must be more than 0 and less than 4 EiB "
            "(leave it out for unlimited)",
            id="no-traffic",
        ),
        pytest.param(
            "traffic: 999999999999999TiB",
            "7:12: spec.traffic: must be more than 0 and less than 4 EiB "
            "(leave it out for unlimited)",
            id="too-much-traffic",
        ),
        pytest.param(
            "prices: {rub: 1}",
            "7:12: spec.prices.rub: has a wrong form (must match ^[A-Z]{3,5}$)",
            id="currency",
        ),
        pytest.param(
            "prices: {RUB: 2.5}",
            "7:17: spec.prices.RUB: must be a whole number (plain digits, without quotes)",
            id="price",
        ),
        pytest.param(
            "nodes: {count: some}",
            "7:18: spec.nodes.count: is neither a number of nodes nor all (write 1, 2, ... or all)",
            id="count",
        ),
        pytest.param(
            "nodes: {count: 0}",
            "7:18: spec.nodes.count: must be greater than or equal to 1",
            id="no-nodes",
        ),
        pytest.param(
            "title: {en: Month}", "5:10: spec.title.ru: is missing", id="title-in-one-language"
        ),
    ],
)
def test_a_wrong_tariff_is_refused_at_its_place(faults, lines, expected) -> None:
    given = {"title": "title: {ru: a, en: b}", "days": "days: 30"}
    given[lines.split(":")[0]] = lines
    spec = "".join(f"  {line}\n" for line in given.values())

    assert [f"f.yaml:{expected}"] == faults(
        f"apiVersion: x3fleet/v1\nkind: Tariff\nmetadata: {{name: m}}\nspec:\n{spec}"
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            "failoverAfter: 600",
            "5:18: spec.failoverAfter: is no duration "
            "(write a whole number with s, m, h or d: 90s, 10m, 7d)",
            id="duration-without-unit",
        ),
        pytest.param(
            "failoverAfter: 5s",
            "5:18: spec.failoverAfter: must be at least 15s, or 0s for never",
            id="failover-too-soon",
        ),
        pytest.param(
            "unknownCreateWait: 0s",
            "5:22: spec.unknownCreateWait: must be at least 60s",
            id="unknown-creates",
        ),
        pytest.param(
            "deleteExpiredAfter: 4000d",
            "5:23: spec.deleteExpiredAfter: must be at most 3650d",
            id="too-long",
        ),
        pytest.param(
            "guards: {deletes: {share: 30}}",
            "5:29: spec.guards.deletes.share: must be less than or equal to 1",
            id="share-in-percent",
        ),
        pytest.param(
            "moveOrder: overlap",
            "5:14: spec.moveOrder: must be 'delete-first' or 'create-first'",
            id="order",
        ),
        pytest.param(
            "load: {keys: 0}",
            "5:16: spec.load.keys: must be greater than or equal to 0.01",
            id="load-without-keys",
        ),
        pytest.param(
            "emailTemplate: 'x3f-{key}'",
            "5:18: spec.emailTemplate: must hold {generation} exactly once",
            id="template-without-generation",
        ),
        pytest.param(
            "emailTemplate: 'X-{key}-g{generation}'",
            "5:18: spec.emailTemplate: must be lower-case (panels ignore case)",
            id="template-in-upper-case",
        ),
    ],
)
def test_a_wrong_policy_is_refused_at_its_place(faults, policy, lines, expected) -> None:
    assert [f"f.yaml:{expected}"] == faults(f"{policy}  {lines}\n")
