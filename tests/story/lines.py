"""The story that the product was made for: every failure of one shop, a line each, in plain words.

A line is proved by tests marked `@pytest.mark.story("<id>")`, anywhere below tests/, or it stands
in OUTSTANDING with the room that will prove it. `test_story.py` holds both lists to each other.
"""

LINES = {
    "hard-coded-address": (
        "One hard-coded panel address survived in five files: no key was created on new nodes."
    ),
    "connection-without-its-node": (
        "Panel clients were built without their node's address and password."
    ),
    "row-deleted-first": (
        "The database row was deleted before the panel's client, so leaked keys lived on."
    ),
    "order-of-replacement": (
        "Delete on the panel, verify, delete in the database, create the new one; and create only "
        "when the old one is gone."
    ),
    "zero-days-after-an-error": "The subscription button showed 0 days after an error.",
    "missing-relationship": "The payments page crashed on a relationship that was missing.",
    "different-data": "Bot, backend and admin site showed different data.",
    "no-retry": "There was no retry: what failed once stayed undone.",
    "no-circuit-breaker": "There was no circuit breaker: a dead panel was called again and again.",
    "no-health-check": "There was no health check: nobody knew which panel was down.",
    "no-alert": "There was no alert: customers reported failures first.",
    "no-metric": "There was no metric: nothing said how many keys were missing.",
    "no-backup": "There was no backup.",
    "no-validation-at-start": "Nothing was validated at start-up: errors came with the first sale.",
}

OUTSTANDING: dict[str, str] = {}
