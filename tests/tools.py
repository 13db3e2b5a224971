"""Programs that are no Python packages, and tests that need them: skipped where they are missing.

Not here: databases (`tests.stores`), panels.
"""

import shutil

import pytest

PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is missing (Debian's package `prometheus`)"
)
