"""`x3fleet demo`: the operator's own commands over simulated panels; what it runs is data."""
