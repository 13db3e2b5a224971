"""Pure placement: which nodes a key lives on.

Not here: I/O, the store, panels; load arrives as values.
"""
