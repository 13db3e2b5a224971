"""A folder of manifests as a source: what it reads, what it calls a revision, when it refuses."""

import os
from pathlib import Path

import pytest

from desired_state.manifests.errors import ManifestError, ManifestSourceUnavailable
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.positions import MAX_BYTES
from desired_state.manifests.sources.directory import MAX_FILES, DirectorySource


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.yaml").write_text("b")
    (tmp_path / "a.yml").write_text("a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.yaml").write_text("c")
    return tmp_path


def test_a_folder_yields_its_manifests_and_those_of_its_subfolders(folder) -> None:
    (folder / "README.md").write_text("no manifest")
    (folder / ".hidden.yaml").write_text("an editor's copy")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.yaml").write_text("no manifest")

    fetched = DirectorySource(folder).fetch()

    assert [
        (f"{folder}/a.yml", b"a", folder),
        (f"{folder}/b.yaml", b"b", folder),
        (f"{folder}/sub/c.yaml", b"c", folder / "sub"),
    ] == [(file.name, file.content, file.folder) for file in fetched.files]
    assert str(folder) == fetched.source


def test_a_file_is_a_source_of_its_own(folder) -> None:
    fetched = DirectorySource(folder / "b.yaml").fetch()

    assert [f"{folder}/b.yaml"] == [file.name for file in fetched.files]


def test_a_link_into_a_hidden_folder_is_followed(tmp_path) -> None:
    """Mounted configuration is laid out like this."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "nodes.yaml").write_text("x")
    (tmp_path / "nodes.yaml").symlink_to("..data/nodes.yaml")

    fetched = DirectorySource(tmp_path).fetch()

    assert [(f"{tmp_path}/nodes.yaml", b"x", tmp_path)] == [
        (file.name, file.content, file.folder) for file in fetched.files
    ]


def test_the_revision_is_that_of_the_content(folder) -> None:
    before = DirectorySource(folder).fetch().revision

    assert before == DirectorySource(folder).fetch().revision
    (folder / "b.yaml").write_text("B")
    changed = DirectorySource(folder).fetch().revision
    (folder / "b.yaml").rename(folder / "d.yaml")
    renamed = DirectorySource(folder).fetch().revision
    assert 3 == len({before, changed, renamed})


def test_the_revision_does_not_hang_on_where_the_folder_is(folder, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    before = DirectorySource(folder).fetch().revision

    folder.rename(elsewhere)

    assert before == DirectorySource(elsewhere).fetch().revision


def test_a_source_has_one_name_however_its_path_is_written(folder, monkeypatch) -> None:
    """The source owns what it declares: two spellings must not be two owners."""
    monkeypatch.chdir(folder)

    sources = {DirectorySource(p).fetch().source for p in (Path(), Path("sub/.."), folder)}

    assert {str(folder)} == sources


def test_file_names_in_errors_are_as_the_path_was_given(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)

    fetched = DirectorySource(Path(folder.name)).fetch()

    assert f"{folder.name}/a.yml" == fetched.files[0].name


def test_a_folder_without_manifests_is_refused(tmp_path) -> None:
    with pytest.raises(ManifestSourceUnavailable, match=r"holds no \*\.yaml or \*\.yml file"):
        load_bundle(DirectorySource(tmp_path))


def test_a_folder_with_far_too_many_files_was_not_meant(tmp_path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()

    with pytest.raises(ManifestSourceUnavailable, match="holds more than 5000 manifests"):
        DirectorySource(tmp_path).fetch()


def test_a_missing_folder_is_refused(tmp_path) -> None:
    missing = tmp_path / "fleet"

    with pytest.raises(ManifestSourceUnavailable) as caught:
        load_bundle(DirectorySource(missing))

    assert f"{missing} cannot be read: No such file or directory" == caught.value.message
    assert () == caught.value.faults


def test_a_dead_link_is_refused_rather_than_passed_over(folder) -> None:
    """A node must not seem to have vanished."""
    (folder / "dead.yaml").symlink_to("nowhere")

    with pytest.raises(ManifestSourceUnavailable, match=r"dead\.yaml cannot be read"):
        DirectorySource(folder).fetch()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(folder, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(folder / "odd.yaml")
    else:
        (folder / "odd.yaml").symlink_to("/dev/zero" if kind == "device" else "sub")

    with pytest.raises(
        ManifestSourceUnavailable, match=r"odd\.yaml cannot be read: it is no regular"
    ):
        DirectorySource(folder).fetch()


def test_of_a_file_that_is_too_large_only_so_much_is_read(folder) -> None:
    with (folder / "b.yaml").open("wb") as file:
        file.truncate(MAX_BYTES * 1_000)

    fetched = DirectorySource(folder).fetch()

    assert MAX_BYTES + 1 == max(len(file.content) for file in fetched.files)
    with pytest.raises(ManifestError, match=rf"b\.yaml:1:1: is larger than {MAX_BYTES} bytes"):
        load_bundle(DirectorySource(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_refused_rather_than_passed_over(folder) -> None:
    (folder / "sub").chmod(0)

    with pytest.raises(ManifestSourceUnavailable, match="sub cannot be read: Permission denied"):
        DirectorySource(folder).fetch()

    (folder / "sub").chmod(0o700)
