"""Benchmarks: ratios measured side by side in one run, never budgets on a clock.

Not here: tests. Run by `make bench`.
"""
