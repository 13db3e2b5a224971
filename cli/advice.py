"""What a person does about a condition: one sentence for each reason.

Pure. Callers: everything that shows conditions. Not here: what the condition says itself.
"""

_ADVICE = {
    "CredentialsRefused": "correct the secret; x3fleet nodes resume {node} tries the same one again",
    "TlsMismatch": "renew the panel's certificate, or correct spec.panel.tls in its manifest",
    "NotAPanel": "compare spec.panel.url with the panel's own address, base path included",
    "UnsupportedVersion": "upgrade the panel to 2.3.15 or later, or take the node out",
    "ContractBroken": "the panel answers otherwise than its version does; see x3fleet doctor",
    "Unreachable": "see whether the panel's server runs and lets this machine in",
    "Timeout": "see whether the panel's server is overloaded",
    "PanelBusy": "it goes on by itself at the next run",
    "IdentityChanged": "if you replaced the panel: x3fleet nodes rebind {node}; else see on the panel "
    "whether its inbounds and clients are there",
    "ShrunkObservation": "look at the panel first; if it lost its clients for good: "
    "x3fleet nodes rebuild {node} brings them back with the same credentials",
    "StaleDesired": "restore the newer backup of the database; without one: x3fleet keys rotate KEY "
    "for each key named, or raise spec.guards.quarantined of a Policy",
    "Paced": "it goes on by itself; spec.guards.fleetDeletes of a Policy says how fast",
    "ClockSkew": "correct the clock of the panel's server, or ours",
    "PanelPoisoned": "give that client an email on the panel, or delete it there",
    "EmailTaken": "x3fleet keys rotate KEY gives the key another email",
    "DeleteRefused": "delete it by hand on the panel",
    "Fighting": "find out who else writes to this panel",
    "NoInbounds": "make one on the panel, switch it on there, or correct spec.inbounds",
    "InboundMissing": "put it back on the panel; if another is to carry its keys: "
    "x3fleet nodes rematch {node}",
    "InboundDisabled": "switch it on again on the panel; if another is to carry its keys: "
    "x3fleet nodes rematch {node}",
    "InboundPortTaken": "give one of the two another port, in the manifest or on the panel",
    "InboundTagTaken": "rename that one on the panel, or give another tag in the manifest",
    "InboundRefused": "correct the document of that inbound, or what the panel complains of",
    "InboundProtocol": "declare an inbound of that protocol under another name and port",
    "InboundUnsupported": "upgrade the panel, or leave its node out of the inbound's selector",
    "InboundMethod": "declare an inbound of that method under another name and port",
    "InboundHoldsForeign": "move those clients to another inbound on the panel, or delete them there",
    "CutOff": "bring an inbound back that carries them, or approve that they go",
    "PasswordSize": "x3fleet keys rotate KEY makes a password of the right size",
    "XrayStopped": "start Xray on the panel: its keys do not work",
    "XrayFailing": "look into Xray's log on the panel: its keys do not work",
    "CertificateExpiring": "renew the panel's certificate; its renewal has failed so far",
    "CertificateExpiringSoon": "renew the panel's certificate now: without it the panel is refused",
    "CertificateExpired": "renew the panel's certificate",
    "Restored": "x3fleet backup difference shows what waits; x3fleet backup accept lets it pass",
    "Mode": "the node's mode says so; change it in the manifest if it is over",
}


_ALWAYS = frozenset({"CredentialsRefused"})
"""Advice that adds a command to what the message advises."""


def advise(reason: str, node: str, message: str = "") -> str:
    """Say what to do; empty where the condition's own message ends with it, in parentheses."""
    if message.endswith(")") and reason not in _ALWAYS:
        return ""
    return _ADVICE.get(reason, "").format(node=node)


def full_name(kind: str, reason: str) -> str:
    """Name a condition by its type and reason, said once where they are one word."""
    return kind if kind == reason else f"{kind}/{reason}"
