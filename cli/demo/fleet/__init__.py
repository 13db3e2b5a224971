"""`x3fleet demo-fleet`: twenty simulated panels under a running service, and what may become of them."""
