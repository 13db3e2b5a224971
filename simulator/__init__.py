"""A fake 3x-ui panel of a chosen version, served over real HTTP.

Here: what a panel answers, its background jobs, and the control port that damages and inspects it.
Callers: the test suites, `x3fleet demo` and `x3fleet simulate`, and whoever writes a client.
Not here: anything of the other packages. It follows recordings of real panels, never our adapter.
"""
