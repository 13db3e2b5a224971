"""The pure core: observe, diff, plan, guard, verify, as values and one sans-I/O generator.

Not here: I/O, clocks, randomness, logging, asyncio. Of ours it imports `desired_state.model` alone.
"""
