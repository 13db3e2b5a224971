"""`ClientRecord` to the panel's client object, for both families.

What we manage is written; whatever else the panel returned travels through an update unchanged,
keys that no version known to us has included. Callers: dialects. Not here: which call carries it.
"""

from collections.abc import Mapping

from controller.core.effects import ClientRecord

Body = dict[str, object]

_VMESS_CIPHER = "auto"
"""What the panel's own pages send; its links are built from it."""
_NOT_WRITTEN = frozenset({
    "id", "uuid", "inboundIds", "traffic", "createdAt", "updatedAt", "allowedIPs",
})  # fmt: skip
"""Keys of a record that a write does not know, or knows under another name or shape."""


def entry(record: ClientRecord, *, has_comment: bool) -> Body:
    """Make the entry of a new client up to 3.0.2.

    Args:
        record: whose `protocol` chooses the credential.
        has_comment: whether the version knows that key.
    """
    body: Body = {**_managed(record), **_entry_credential(record), "subId": record.sub_id}
    if has_comment:
        body["comment"] = record.comment
    if record.protocol == "vless":
        body["flow"] = record.flow
    if record.protocol == "vmess":
        body["security"] = _VMESS_CIPHER
    return body


def updated_entry(record: ClientRecord, raw: Mapping[str, object], *, has_comment: bool) -> Body:
    """Make the entry that replaces another up to 3.0.2: what we manage over what is held."""
    body: Body = {**raw, **_managed(record), **_filled(_entry_credential(record))}
    if record.sub_id:
        body["subId"] = record.sub_id
    if record.comment and has_comment:
        body["comment"] = record.comment
    if record.protocol == "vless":
        body["flow"] = record.flow
    return body


def client(record: ClientRecord, *, has_group: bool) -> Body:
    """Make a new client from 3.1.0 on: the credentials of every protocol, one password for all."""
    body: Body = {
        **_managed(record),
        **_filled(_credentials(record)),
        "subId": record.sub_id,
        "flow": record.flow,
        "comment": record.comment,
    }
    if record.group and has_group:
        body["group"] = record.group
    return body


def updated_client(
    record: ClientRecord,
    raw: Mapping[str, object],
    *,
    has_group: bool,
    skips_equal: bool = False,
) -> Body:
    """Make the client that replaces another from 3.1.0 on.

    A record is not what may be written: `uuid` becomes `id`, `allowedIPs` a list, `createdAt`
    another spelling; what belongs to the panel is left out.
    """
    # QUIRK(update-replaces, 3x-ui 3.1.0+): whatever is left out is reset, up to 3.3.0 credentials
    # too, so everything the record holds is sent back.
    body: Body = {key: value for key, value in raw.items() if key not in _NOT_WRITTEN}
    body |= _filled({"id": raw.get("uuid"), "created_at": raw.get("createdAt")})
    if isinstance(addresses := raw.get("allowedIPs"), str) and addresses:
        body["allowedIPs"] = [part.strip() for part in addresses.split(",")]
    body |= _managed(record) | _filled(_credentials(record))
    body["flow"] = record.flow
    body |= _filled({"subId": record.sub_id, "comment": record.comment})
    if record.group and has_group:
        body["group"] = record.group
    if skips_equal and record.flow != raw.get("flow") and body.get("comment") == raw.get("comment"):
        # QUIRK(equal-update-skipped, 3x-ui 3.5.0+): an inbound whose entry stays the same is not
        # written. Its entry may have had the flow all along while the record keeps what another
        # inbound left there: something has to differ for the record to learn it.
        body["comment"] = f"{record.comment}."
    return body


def _managed(record: ClientRecord) -> Body:
    # QUIRK(email-always-sent, 3x-ui 2.3.15 to 3.0.1): an entry without that key makes the panel
    # refuse every later create and rename, so none is ever written without it. An empty one does not.
    return {
        "email": "" if record.unnamed else record.email,
        "enable": record.enable,
        "expiryTime": record.expiry_ms,
        "totalGB": record.total_bytes,
        "limitIp": record.limit_ip,
        "tgId": record.tg_id,
        "reset": 0,
    }


def _entry_credential(record: ClientRecord) -> Body:
    match record.protocol:
        case "trojan":
            return {"password": record.password}
        case "shadowsocks":
            # QUIRK(ss-method-in-client, 3x-ui 2.3.15 to 3.0.2): Xray wants a legacy cipher repeated
            # in the client and refuses one with a 2022 cipher; the panel fills it in only from
            # 3.1.0 on.
            method = "" if record.method.startswith("2022-") else record.method
            return {"password": record.password, "method": method}
        case "hysteria" | "hysteria2":
            return {"auth": record.auth}
        case _:
            return {"id": record.uuid}


def _credentials(record: ClientRecord) -> Body:
    return {"id": record.uuid, "password": record.password, "auth": record.auth}


def _filled(body: Body) -> Body:
    return {key: value for key, value in body.items() if value}
