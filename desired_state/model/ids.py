"""Names of things as distinct types, so that one is never passed for another.

Callers: everywhere. Not here: making them (commands draw random ids; `ownership` makes emails).
"""

from typing import NewType

NodeName = NewType("NodeName", str)
TariffName = NewType("TariffName", str)
InboundName = NewType("InboundName", str)
"""Of a declared inbound; what a panel calls it is its tag."""
KeyId = NewType("KeyId", str)
SubscriptionId = NewType("SubscriptionId", str)
PersonId = NewType("PersonId", int)
PurchaseId = NewType("PurchaseId", str)
PaymentId = NewType("PaymentId", int)
DeviceId = NewType("DeviceId", str)
"""SHA-256 in hex of what a person's app says of its device; what it said is not kept."""
Generation = NewType("Generation", int)
"""The version of a key's identity; rotation increments it. Starts at 1."""
Revision = NewType("Revision", int)
"""The global counter that every write of desired state takes the next value of."""
Epoch = NewType("Epoch", int)
"""The fencing token of a node's lease; 0 where one controller alone holds the file lock."""
InboundId = NewType("InboundId", int)
Email = NewType("Email", str)
"""The panel's name of a client. Identity is case-insensitive; spelling matters in paths."""
Digest = NewType("Digest", str)
"""SHA-256 in hex over a canonical list; shown cut to 12 digits."""
