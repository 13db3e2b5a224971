"""Valid documents to values of the model: defaults filled in, units converted, paths made absolute.

Called by the loader once nothing is wrong. Pure: files that references name are not looked at, so a
fleet can be validated where its secrets are not. Not here: checks.
"""

import os.path
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from desired_state.manifests.bundle import Bundle
from desired_state.manifests.documents import Loaded
from desired_state.manifests.fields import Secret
from desired_state.manifests.inbound_kind import (
    InboundDocument,
    InboundTlsDocument,
    RealityDocument,
    Sniffing,
)
from desired_state.manifests.kinds import (
    Auth,
    Certificate,
    Limit,
    NodeDocument,
    PolicyDocument,
    PolicySpecDocument,
    TariffDocument,
)
from desired_state.manifests.panel_url import parse_panel_url
from desired_state.model.ids import InboundName, NodeName, TariffName
from desired_state.model.inbound import (
    HYSTERIA,
    HYSTERIA_NETWORK,
    TAG_PREFIX,
    InboundSpec,
    InboundTls,
    Reality,
)
from desired_state.model.node import AuthRefs, Match, NodeSpec, SecretRef, Tls, TlsKind
from desired_state.model.policy import Policy
from desired_state.model.quantities import Money
from desired_state.model.tariff import Labels, NodeSelector, Tariff


def resolve(documents: Iterable[Loaded], *, revision: str, source: str) -> Bundle:
    """Turn documents into a bundle; each must be typed."""
    nodes: list[NodeSpec] = []
    tariffs: list[Tariff] = []
    policies: list[PolicyDocument] = []
    inbounds: list[InboundSpec] = []
    for document in documents:
        match document.typed:
            case NodeDocument() as node:
                nodes.append(_node(node, document.file.folder))
            case TariffDocument() as tariff:
                tariffs.append(_tariff(tariff))
            case PolicyDocument() as policy:
                policies.append(policy)
            case InboundDocument() as inbound:
                inbounds.append(_inbound(inbound))
    fleet = next((p.spec for p in policies if not p.spec.selector), None)
    base = Policy() if fleet is None else _policy(fleet, Policy())
    return Bundle(
        nodes=tuple(sorted(nodes, key=lambda node: node.name)),
        tariffs=tuple(sorted(tariffs, key=lambda tariff: tariff.name)),
        policies=tuple(
            replace(_policy(p.spec, base), name=p.metadata.name, selector=_pairs(p.spec.selector))
            for p in sorted(policies, key=lambda policy: policy.metadata.name)
        ),
        inbounds=tuple(sorted(inbounds, key=lambda inbound: inbound.name)),
        email_template=None if fleet is None else fleet.email_template,
        revision=revision,
        source=source,
    )


def _node(document: NodeDocument, folder: Path | None) -> NodeSpec:
    spec = document.spec
    return NodeSpec(
        name=NodeName(document.metadata.name),
        url=spec.panel.url,
        auth=_auth(spec.panel.auth, folder),
        address=spec.address or parse_panel_url(spec.panel.url).host,
        tls=_tls(spec.panel.tls.verify, folder),
        labels=_pairs(document.metadata.labels),
        matches=tuple(
            Match(port=m.port, tag=m.tag, remark=m.remark, protocol=m.protocol, flow=m.flow)
            for m in spec.inbounds.match
        ),
        capacity_keys=spec.capacity.keys,
        capacity_traffic_bps=spec.capacity.traffic,
        weight=spec.weight,
        priority=spec.priority,
        mode=spec.mode,
        schedulable=spec.schedulable,
        drain=spec.drain,
        deletion_policy=spec.deletion_policy,
    )


def _auth(auth: Auth, folder: Path | None) -> AuthRefs:
    return AuthRefs(
        token=_secret(auth.token, folder),
        username=_secret(auth.username, folder),
        password=_secret(auth.password, folder),
        totp_secret=_secret(auth.totp_secret, folder),
        login_secret=_secret(auth.login_secret, folder),
    )


def _secret(secret: Secret | None, folder: Path | None) -> SecretRef | None:
    if secret is None:
        return None
    if secret.env is not None:
        return SecretRef("env", secret.env)
    if secret.file is not None:
        return SecretRef("file", _absolute(secret.file, folder))
    return SecretRef("ciphertext", secret.ciphertext or "")


def _tls(verify: bool | Certificate, folder: Path | None) -> Tls:  # noqa: FBT001 the document's own words
    match verify:
        case Certificate(ca_file=str(path)):
            return Tls(TlsKind.CA_FILE, _absolute(path, folder))
        case Certificate(pin_sha256=str(pin)):
            return Tls(TlsKind.PIN, pin.replace(":", "").lower())
        case False:
            return Tls(TlsKind.OFF)
        case _:
            return Tls()


def _absolute(path: str, folder: Path | None) -> str:
    # Lexically: a link in between may lead elsewhere tomorrow.
    return os.path.normpath(path if folder is None else folder / path)


def _tariff(document: TariffDocument) -> Tariff:
    spec = document.spec
    return Tariff(
        name=TariffName(document.metadata.name),
        title_ru=spec.title.ru,
        title_en=spec.title.en,
        days=spec.days,
        nodes=NodeSelector(_pairs(spec.nodes.selector), spec.nodes.count),
        traffic_bytes=spec.traffic,
        devices=spec.devices,
        prices=tuple(Money(currency, amount) for currency, amount in sorted(spec.prices.items())),
        trial=spec.trial,
    )


def _inbound(document: InboundDocument) -> InboundSpec:
    spec, stream = document.spec, document.spec.stream
    tag = spec.tag or f"{TAG_PREFIX}{document.metadata.name}"
    reality, tls, sniffing = stream.reality, stream.tls, spec.sniffing
    is_quic = spec.protocol == HYSTERIA
    return InboundSpec(
        name=InboundName(document.metadata.name),
        protocol=spec.protocol,
        port=spec.port,
        tag=tag,
        remark=spec.remark or tag,
        labels=_pairs(spec.selector),
        listen=spec.listen or "",
        enable=spec.enable,
        method=spec.method or "",
        network=HYSTERIA_NETWORK if is_quic else stream.network,
        path=stream.path or "",
        host=stream.host or "",
        reality=None if reality is None else _reality(reality),
        certificate=None if tls is None else _inbound_tls(tls, ("h3",) if is_quic else ()),
        sniffing=None if sniffing is None else _sniffing(sniffing),
        flow=spec.flow,
        deletion_policy=spec.deletion_policy,
    )


def _reality(reality: RealityDocument) -> Reality:
    names = tuple(reality.server_names)
    return Reality(reality.target, names, reality.short_ids, reality.fingerprint)


def _inbound_tls(tls: InboundTlsDocument, default: tuple[str, ...]) -> InboundTls:
    alpn = tuple(tls.alpn) or default
    return InboundTls(tls.certificate_file, tls.key_file, tls.server_name or "", alpn)


def _sniffing(sniffing: Sniffing) -> tuple[str, ...]:
    return tuple(sniffing.dest_override) if sniffing.enabled else ()


def _policy(spec: PolicySpecDocument, base: Policy) -> Policy:
    """Lay what a document says over `base`; what it leaves out stays as it is there."""
    guards, approvals = spec.guards, spec.approvals
    said: dict[str, Any] = {
        **_limit("max_delete", guards.deletes),
        **_limit("max_disable", guards.disables),
        **_limit("max_shrink", guards.shrink),
        "fleet_delete_share": guards.fleet_deletes.share,
        "fleet_delete_window_s": guards.fleet_deletes.window,
        "max_clock_skew_s": guards.clock_skew,
        "max_quarantined": guards.quarantined,
        "heals_per_hour": guards.heals_per_hour,
        "approval_start_s": approvals.start_within,
        "approval_valid_s": approvals.valid_for,
        "delete_expired_after_s": spec.delete_expired_after,
        "expiry_margin_s": spec.expiry_margin,
        "unknown_create_wait_s": spec.unknown_create_wait,
        "failover_after_s": spec.failover_after,
        "move_order": spec.move_order,
        "rebalance": spec.rebalance,
        "require_xray": spec.require_xray,
        "resync_s": spec.resync,
        "load": replace(base.load, **_given(spec.load.model_dump())),
        "scaling": replace(base.scaling, **spec.scaling.said()),
    }
    return replace(base, **_given(said))


def _limit(prefix: str, limit: Limit) -> dict[str, float | None]:
    return {f"{prefix}_share": limit.share, f"{prefix}_floor": limit.floor}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _pairs(labels: dict[str, str]) -> Labels:
    return tuple(sorted(labels.items()))
