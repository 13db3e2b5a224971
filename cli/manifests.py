"""`x3fleet manifests validate|diff|apply|schema`.

Validating needs neither a database nor a secret. Not here: loading (`desired_state.manifests`),
applying (`desired_state.commands.manifests`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Block, Output, OutputOption, Page, Text, Tone, count, show

if TYPE_CHECKING:
    from desired_state.commands.differences import Difference, FieldChange
    from desired_state.manifests.bundle import Bundle

Folder = Annotated[Path, Parameter(name="DIR", help="a folder of manifests, or one file")]

_SIGNS = {
    "create": Text("+ create", Tone.GOOD),
    "update": Text("~ update", Tone.WARN),
    "restore": Text("+ restore", Tone.GOOD),
    "orphan": Text("- orphan", Tone.BAD),
    "drain": Text("- drain", Tone.BAD),
    "withdraw": Text("- withdraw", Tone.BAD),
    "delete": Text("- delete", Tone.BAD),
}


def validate(folder: Folder, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Check manifests; needs no database."""
    bundle = _load(folder)
    counts = {
        "nodes": len(bundle.nodes),
        "tariffs": len(bundle.tariffs),
        "policies": len(bundle.policies),
        "inbounds": len(bundle.inbounds),
    }
    declared = ", ".join(
        count(number, noun)
        for number, noun in zip(
            counts.values(), ("node", "tariff", "policy", "inbound"), strict=True
        )
    )
    document = {"valid": True, "source": bundle.source, "revision": bundle.revision, **counts}
    show(Page(document, (f"valid: {declared}",)), output)
    return Exit.DONE


async def diff(folder: Folder, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Show what applying would change; exits 2 if anything."""
    from desired_state.commands.manifests import plan_bundle

    bundle = _load(folder)
    async with opened_store() as store, store.reading() as session:
        differences = await plan_bundle(session, bundle)
    blocks: list[Block] = list(_told(differences))
    if differences:
        blocks.append(f"{_summary(differences)}; x3fleet manifests apply {folder} makes it so")
    else:
        blocks.append("the database says what the manifests say")
    show(Page(_document(bundle, differences), tuple(blocks)), output)
    return Exit.DRIFT if differences else Exit.DONE


async def apply(folder: Folder, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Make the database say what the manifests say, all of it or nothing."""
    from desired_state.commands.manifests import apply_bundle

    bundle = _load(folder)
    async with unit_of_work() as work:
        applied = await apply_bundle(work, bundle)
    document = {
        **_document(bundle, applied.differences),
        "applied": applied.revision is not None,
        "database_revision": applied.revision,
    }
    blocks: list[Block] = list(_told(applied.differences))
    if applied.differences:
        summary = _summary(applied.differences)
        blocks.append(f"applied: {summary}; x3fleet plan shows what follows on the panels")
    else:
        blocks.append("nothing to apply: the database says what the manifests say")
    show(Page(document, tuple(blocks)), output)
    return Exit.DONE


def schema() -> Exit:
    """Print the JSON Schema of one document, for editors."""
    import json
    import sys

    from desired_state.manifests.schema import manifest_schema

    sys.stdout.write(json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n")
    return Exit.DONE


def _load(folder: Path) -> "Bundle":
    from desired_state.manifests.loader import load_bundle
    from desired_state.manifests.sources.directory import DirectorySource

    return load_bundle(DirectorySource(folder))


# -- what is shown ---------------------------------------------------------------------------------


def _document(bundle: "Bundle", differences: "tuple[Difference, ...]") -> dict[str, Any]:
    return {
        "source": bundle.source,
        "revision": bundle.revision,
        "differences": [
            {
                "kind": difference.kind,
                "name": difference.name,
                "verb": difference.verb.value,
                "fields": [
                    {"path": change.path, "before": change.before, "after": change.after}
                    for change in difference.fields
                ],
            }
            for difference in differences
        ],
    }


def _told(differences: "tuple[Difference, ...]") -> list[Block]:
    blocks: list[Block] = []
    for difference in differences:
        sign = _SIGNS[difference.verb.value]
        blocks.append(Text(f"{sign.text} {difference.kind} {difference.name}", sign.tone))
        if difference.verb.value in ("update", "restore"):
            blocks += [f"    {_change(change)}" for change in difference.fields]
    return blocks


def _change(change: "FieldChange") -> str:
    if change.before is None:
        return f"{change.path}: {change.after}"
    if change.after is None:
        return f"{change.path}: {change.before}, taken away"
    return f"{change.path}: {change.before} -> {change.after}"


def _summary(differences: "tuple[Difference, ...]") -> str:
    return count(len(differences), "difference")
