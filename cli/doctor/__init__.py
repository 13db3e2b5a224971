"""`x3fleet doctor`: everything that can be found wrong without changing anything."""
