"""Right documents become values of the model; what they leave out is filled in."""

import pytest

from desired_state.manifests.bundle import Bundle
from desired_state.manifests.errors import ManifestError
from desired_state.model.node import (
    AuthRefs,
    DeletionPolicy,
    Match,
    Mode,
    NodeSpec,
    SecretRef,
    Tls,
    TlsKind,
)
from desired_state.model.policy import LoadWeights, MoveOrder, Policy, Rebalance, Scaling
from desired_state.model.quantities import Money
from desired_state.model.tariff import NodeSelector, Tariff

POLICY = "apiVersion: x3fleet/v1\nkind: Policy\nmetadata: {{name: {}}}\nspec: {}\n---\n"


def test_a_short_node_has_every_default(load, node) -> None:
    assert Bundle(
        nodes=(
            NodeSpec(
                name="nl-1",
                url="https://nl1.example.net:2053/panel-path/",
                auth=AuthRefs(token=SecretRef("env", "NL1_TOKEN")),
                address="nl1.example.net",
                labels=(("country", "nl"),),
            ),
        ),
        revision="r1",
        source="texts",
    ) == load(node)


def test_a_long_node_says_everything_itself(load) -> None:
    bundle = load("""\
        apiVersion: x3fleet/v1
        kind: Node
        metadata:
          name: nl-1
          labels: {tier: premium, country: nl}
        spec:
          panel:
            url: https://[2001:db8::1]:2053/x
            auth:
              username: {env: U}
              password: {file: secrets/p}
              totpSecret: {file: /run/totp}
              loginSecret: {ciphertext: gAAAAABk-_x=}
            tls: {verify: {caFile: ../ca.pem}}
          address: NL1.example.net
          inbounds:
            match:
              - {port: 443, flow: ''}
              - {tag: inbound-8443, remark: r, protocol: trojan}
          capacity: {keys: 500, traffic: 100MiB}
          weight: 2
          priority: 50
          mode: upsert-only
          schedulable: false
          drain: true
          deletionPolicy: Drain
        """)

    assert (
        NodeSpec(
            name="nl-1",
            url="https://[2001:db8::1]:2053/x/",
            auth=AuthRefs(
                username=SecretRef("env", "U"),
                password=SecretRef("file", "/etc/fleet/secrets/p"),
                totp_secret=SecretRef("file", "/run/totp"),
                login_secret=SecretRef("ciphertext", "gAAAAABk-_x="),
            ),
            address="nl1.example.net",
            tls=Tls(TlsKind.CA_FILE, "/etc/ca.pem"),
            labels=(("country", "nl"), ("tier", "premium")),
            matches=(
                Match(port=443, flow=""),
                Match(tag="inbound-8443", remark="r", protocol="trojan"),
            ),
            capacity_keys=500,
            capacity_traffic_bps=100 * 2**20,
            weight=2.0,
            priority=50,
            mode=Mode.UPSERT_ONLY,
            schedulable=False,
            drain=True,
            deletion_policy=DeletionPolicy.DRAIN,
        ),
    ) == bundle.nodes


@pytest.mark.parametrize(
    ("verify", "tls"),
    [
        pytest.param("true", Tls(), id="verify"),
        pytest.param("false", Tls(TlsKind.OFF), id="off"),
        pytest.param("{caFile: /etc/ca.pem}", Tls(TlsKind.CA_FILE, "/etc/ca.pem"), id="ca-file"),
        pytest.param(
            f"{{pinSha256: '{'AB:' * 31}CD'}}", Tls(TlsKind.PIN, "ab" * 31 + "cd"), id="pin"
        ),
    ],
)
def test_each_check_of_a_certificate_is_understood(load, node, verify, tls) -> None:
    assert tls == load(f"{node}    tls: {{verify: {verify}}}\n").nodes[0].tls


@pytest.mark.parametrize(
    ("url", "address"),
    [
        pytest.param("https://h.example:1/x/", "h.example", id="name"),
        pytest.param("https://[2001:db8::1]:1/", "2001:db8::1", id="ipv6-without-brackets"),
        pytest.param("http://127.0.0.1:1/", "127.0.0.1", id="ipv4"),
    ],
)
def test_links_lead_to_the_panels_host_unless_an_address_is_given(load, node, url, address) -> None:
    text = node.replace("https://nl1.example.net:2053/panel-path/", url)

    assert address == load(text).nodes[0].address


def test_a_tariff_converts_units_and_sorts_prices(load, tariff) -> None:
    text = f"""{tariff}  traffic: 1.5GiB
  devices: 3
  prices: {{XTR: 250, RUB: 29900}}
  nodes: {{count: all}}
  trial: true
"""

    assert (
        Tariff(
            name="month",
            title_ru="Месяц",
            title_en="Month",
            days=30,
            nodes=NodeSelector((), None),
            traffic_bytes=3 * 2**29,
            devices=3,
            prices=(Money("RUB", 29900), Money("XTR", 250)),
            trial=True,
        ),
    ) == load(text).tariffs


def test_a_tariff_without_limits_is_unlimited_on_one_node(load, tariff) -> None:
    assert (Tariff("month", "Месяц", "Month", 30, NodeSelector((), 1)),) == load(tariff).tariffs


def test_a_policy_says_every_value_that_an_operator_may_change(load, node) -> None:
    text = POLICY.format(
        "strict",
        """
          guards:
            deletes: {share: 0.1, floor: 1}
            fleetDeletes: {share: 0.05, window: 1h}
            disables: {share: 0.2, floor: 2}
            shrink: {share: 0.3, floor: 3}
            clockSkew: 1m
            quarantined: 0
            healsPerHour: 9
          approvals: {startWithin: 5m, validFor: 2h}
          deleteExpiredAfter: 0s
          expiryMargin: 2d
          unknownCreateWait: 90s
          failoverAfter: 0s
          moveOrder: create-first
          rebalance: automatic
          requireXray: false
          resync: 15s
          load: {keys: 2, traffic: 1, cpu: 0.5, memory: 0.25}
          scaling:
            {label: country, headRoom: 0.1, spare: 0.6, hysteresis: 0.02, outAfter: 1m, inAfter: 2h}
          emailTemplate: "y-{key}.{generation}"
        """,
    )

    bundle = load(node + "---\n" + text)

    assert "y-{key}.{generation}" == bundle.email_template
    strict = (
        Policy(
            name="strict",
            max_delete_share=0.1,
            max_delete_floor=1,
            fleet_delete_share=0.05,
            fleet_delete_window_s=3600,
            max_disable_share=0.2,
            max_disable_floor=2,
            max_shrink_share=0.3,
            max_shrink_floor=3,
            max_clock_skew_s=60,
            max_quarantined=0,
            heals_per_hour=9,
            approval_start_s=300,
            approval_valid_s=7200,
            delete_expired_after_s=0,
            expiry_margin_s=172_800,
            unknown_create_wait_s=90,
            failover_after_s=0,
            move_order=MoveOrder.CREATE_FIRST,
            rebalance=Rebalance.AUTOMATIC,
            require_xray=False,
            resync_s=15,
            load=LoadWeights(2, 1, 0.5, 0.25),
            scaling=Scaling("country", 0.1, 0.6, 0.02, 60, 7200),
        ),
    )
    assert strict == bundle.policies
    # A value that joins the model must join the manifest, and this test.
    default = Policy()
    untouched = {
        n for n in Policy.__dataclass_fields__ if getattr(strict[0], n) == getattr(default, n)
    }
    assert {"selector"} == untouched


def test_a_policy_with_a_selector_stands_on_the_policy_of_the_fleet(load, node) -> None:
    """An operator who switches requireXray off for all must not lose that by another policy."""
    text = (
        node
        + "---\n"
        + POLICY.format("a", "{selector: {country: nl}, load: {cpu: 1}, failoverAfter: 1h}")
        + POLICY.format("z", "{requireXray: false, load: {keys: 3}, failoverAfter: 2h}")
    )

    bundle = load(text)

    assert (
        Policy(
            name="a",
            selector=(("country", "nl"),),
            require_xray=False,
            load=LoadWeights(keys=3, cpu=1),
            failover_after_s=3600,
        ),
        Policy(name="z", require_xray=False, load=LoadWeights(keys=3), failover_after_s=7200),
    ) == bundle.policies


def test_the_order_of_documents_and_files_means_nothing(load, node, tariff) -> None:
    other = node.replace("nl-1", "de-1").replace("nl1.", "de1.")

    one = load({"a.yaml": node + "---\n" + tariff, "b.yaml": other})

    assert ["de-1", "nl-1"] == [spec.name for spec in one.nodes]
    assert one == load({"a.yaml": other + "---\n" + node, "b.yaml": tariff})


def test_references_show_no_value(load, node) -> None:
    text = node.replace("{env: NL1_TOKEN}", "{ciphertext: gAAAAABsecret}")

    assert "gAAAAABsecret" not in repr(load(text))


@pytest.mark.parametrize(
    "limits",
    ["{headRoom: 0.45}", "{spare: 0.25}", "{hysteresis: 0.2}", "{headRoom: 0.5, spare: 0.5}"],
)
def test_limits_of_scaling_too_near_to_each_other_are_refused(load, node, limits) -> None:
    """A node would be added and taken away for ever."""
    text = POLICY.format("default", f"{{scaling: {limits}}}")

    with pytest.raises(ManifestError, match="spare too near to headRoom"):
        load(node + "---\n" + text)
