"""Whatever a file holds, it becomes a bundle or a ManifestError; and no secret is ever told."""

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from desired_state.manifests.bundle import Bundle
from desired_state.manifests.errors import ManifestError
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.positions import parse_yaml
from desired_state.manifests.schema import manifest_schema
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles

SECRET = "hunter2Q7zzVpl"
NAMES = sorted(
    {name for part in manifest_schema()["$defs"].values() for name in part.get("properties", {})}
)
TEXTS = st.sampled_from(
    ["x3fleet/v1", "Node", "Tariff", "Policy", "nl-1", "all", "200GiB", "10m", "https://h.example/"]
)


class OneFile:
    """A source of one file."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def fetch(self) -> ManifestFiles:
        file = ManifestFile("f.yaml", self.content, Path("/etc/fleet"))
        return ManifestFiles((file,), "r1", "one file")


def outcome(content: bytes) -> Bundle | ManifestError:
    """Load; any error but the one that is promised ends the test."""
    try:
        return load_bundle(OneFile(content))
    except ManifestError as error:
        told = error
    assert told.faults
    assert all(fault.line >= 1 and fault.column >= 1 for fault in told.faults)
    return told


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
@example(b"\xef\xbb\xbfa: 1")
@example(b"? - ? - : -")
@example(b"&a : *a")
@example(b"%TAG ! tag:x,2000:\n---\n!a b")
@example("a: \x85b\u2028c\ufeff".encode())
@example(b"\xff\xfea\x00:\x00 \x00b\x00")
def test_any_bytes_end_in_a_bundle_or_in_faults(content) -> None:
    outcome(content)


@given(
    st.text(alphabet="abk:-[]{}&*!|>'\"%@#?,~ \n\t01.", max_size=120),
)
def test_any_text_of_yaml_signs_ends_in_a_bundle_or_in_faults(text) -> None:
    outcome(text.encode())


def documents() -> st.SearchStrategy[Any]:
    """Trees of names that manifests know, with values that are right here and there."""
    leaves = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.text())
    trees = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
        ),
        max_leaves=8,
    )
    return st.builds(
        lambda kind, rest: {"apiVersion": "x3fleet/v1", "kind": kind, **rest},
        st.sampled_from(["Node", "Tariff", "Policy"]),
        st.fixed_dictionaries({"metadata": trees, "spec": trees}),
    )


@given(st.lists(documents(), min_size=1, max_size=3))
def test_any_tree_of_known_names_ends_in_a_bundle_or_in_faults(trees) -> None:
    outcome(yaml.safe_dump_all(trees, allow_unicode=True).encode())


def values() -> st.SearchStrategy[Any]:
    """JSON without null."""
    leaves = st.one_of(
        st.booleans(),
        st.integers(-(10**18), 10**18),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cn"]), max_size=20),
        st.sampled_from(["no", "on", "010", "1:20", "true", "null", "~", "1e3", "=", "<<", "-"]),
    )
    names = st.text(alphabet="abcno1", min_size=1, max_size=5)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=15,
    )


@given(values())
def test_json_is_read_as_json_reads_it(value) -> None:
    """YAML 1.2 holds JSON; PyYAML's own writer speaks 1.1, where `0E0` is text."""
    text = json.dumps({"a": value}, ensure_ascii=False)
    (document,), faults = parse_yaml("f.yaml", text.encode())

    assert () == faults
    assert {"a": value} == document.data


def places_for_a_secret() -> st.SearchStrategy[str]:
    """Every way in which a secret may have been pasted below `auth`, or beside it."""
    field = st.sampled_from(["token", "password", "username", "totpSecret", "loginSecret", "tokn"])
    pasted = st.sampled_from(
        [
            "{{{field}: {secret}}}",
            "{{{field}: {{{secret}}}}}",
            "{{{field}: {{{secret}: x}}}}",
            "{{{field}: {{env: {secret}-}}}}",
            "{{{field}: {{file: '~{secret}'}}}}",
            "{{{field}: {{ciphertext: {secret}}}}}",
            "{{{field}: {{env: A, value: {secret}}}}}",
            "{{{field}: [{secret}]}}",
            "{{{secret}: {{env: A}}}}",
            "{{{secret}}}",
            "{{{secret}: 1, {secret}: 2}}",
            "[{secret}]",
            "{secret}",
            "'{secret}",
            "{{{field}: {secret}: {secret}}}",
            "{{{field}: !{secret} x}}",
            "{{{field}: *{secret}}}",
            "{{{field}: &{secret} *{secret}}}",
            "{{{field}: |{secret}}}",
        ]
    )
    return st.builds(lambda form, name: form.format(field=name, secret=SECRET), pasted, field)


@given(places_for_a_secret())
def test_a_secret_in_plain_text_is_refused_and_never_told(auth) -> None:
    text = (
        "apiVersion: x3fleet/v1\nkind: Node\nmetadata: {name: nl-1}\n"
        f"spec:\n  panel:\n    url: https://h.example/\n    auth: {auth}\n"
    )

    error = outcome(text.encode())

    assert isinstance(error, ManifestError)
    said = f"{error} {error!r} {error.faults!r} {error.hint}"
    assert SECRET not in said
    assert "f.yaml:7:" in said or "f.yaml:8:" in said


@given(
    st.sampled_from(
        [
            "https://admin:{}@h.example/",
            "https://h.example/{}/?x",
            "https://h.example:{}/",
            "{}",
            "https://{}_/ /",
            "https://h.example/{}//",
            "ftp://{}/",
        ]
    )
)
def test_a_wrong_url_is_never_told(form) -> None:
    text = (
        "apiVersion: x3fleet/v1\nkind: Node\nmetadata: {name: nl-1}\n"
        f'spec:\n  panel:\n    url: "{form.format(SECRET)}"\n    auth: {{token: {{env: T}}}}\n'
    )

    error = outcome(text.encode())

    assert isinstance(error, ManifestError)
    assert SECRET not in f"{error} {error.faults!r}"
    assert ("f.yaml:6:10",) == error.places


@given(st.permutations(["nl-1", "de-1", "fi-1", "nl-2"]), st.integers(1, 3))
def test_order_and_number_of_files_change_nothing(names, cut) -> None:
    def text(name: str) -> bytes:
        return (
            f"apiVersion: x3fleet/v1\nkind: Node\nmetadata: {{name: {name}}}\nspec:\n"
            f"  panel: {{url: 'https://{name}.example/', auth: {{token: {{env: T}}}}}}\n---\n"
        ).encode()

    class TwoFiles:
        def fetch(self) -> ManifestFiles:
            parts = (names[:cut], names[cut:])
            files = tuple(
                ManifestFile(f"{i}.yaml", b"".join(map(text, part)), Path("/etc/fleet"))
                for i, part in enumerate(parts)
            )
            return ManifestFiles(files, "r1", "one file")

    assume(names)
    assert outcome(b"".join(map(text, sorted(names)))) == load_bundle(TwoFiles())
