"""A branch of a repository as a source: what is read, over which way, and what is said when it fails."""

import logging
import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from desired_state.manifests.errors import ManifestSourceUnavailable
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources import git
from desired_state.manifests.sources.git import GitSource
from desired_state.model.errors import ConfigError
from tests.integration.manifests.repositories import TOKEN, Repository, node, served


def source_of(repository: object, **settings: Any) -> GitSource:
    made = SyncSettings(repository=str(repository), timeout_s=20, **settings)
    assert made.location is not None
    return GitSource(made, made.location)


def names(source: GitSource) -> list[str]:
    return [file.name for file in source.fetch().files]


def refusal(source: GitSource) -> str:
    with pytest.raises(ManifestSourceUnavailable) as caught:
        source.fetch()
    return str(caught.value)


# -- what is read ----------------------------------------------------------------------------------


def test_manifests_of_the_branch_are_read_and_the_revision_is_the_commit(repository) -> None:
    """As the directory source reads them: other files and hidden ones are passed over."""
    commit = repository.commit(
        {
            "nodes/nl.yaml": node("nl-1"), "a.yml": node("nl-2"), "README.md": "text",
            ".ci/x.yaml": "text", "nodes/.draft.yaml": "text",
        }
    )  # fmt: skip
    repository.commit({"x.yaml": "another branch"}, branch="other")

    fetched = source_of(repository.path).fetch()

    assert commit == fetched.revision
    assert f"{repository.path}#main" == fetched.source
    assert [
        ("a.yml", node("nl-2").encode(), None),
        ("nodes/nl.yaml", node("nl-1").encode(), None),
    ] == [(file.name, file.content, file.folder) for file in fetched.files]


def test_a_folder_of_the_repository_may_be_the_source(repository) -> None:
    repository.commit({"fleet/a.yaml": "x", "fleet/deep/b.yaml": "x", "other/c.yaml": "x"})

    source = source_of(repository.path, path="/fleet/")

    assert ["fleet/a.yaml", "fleet/deep/b.yaml"] == names(source)
    assert f"{repository.path}#main:fleet" == source.name
    assert ["fleet/a.yaml"] == names(source_of(repository.path, path="fleet/a.yaml"))


def test_a_forced_push_is_a_revision_like_any_other(repository) -> None:
    first = repository.commit({"a.yaml": "one"})
    repository.commit({"a.yaml": "two"})
    source = source_of(repository.path)
    source.fetch()

    forced = repository.commit({"b.yaml": "rewritten"}, onto=None)

    fetched = source.fetch()
    assert (forced, ["b.yaml"]) == (fetched.revision, [file.name for file in fetched.files])
    assert first != forced


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        pytest.param({"a.yaml": "x"}, {"branch": "prod"}, "has no branch prod", id="no branch"),
        pytest.param({"a.yaml": "x"}, {"path": "fleet"}, "has no fleet on branch", id="no folder"),
        pytest.param({"a.md": "x"}, {}, "holds no *.yaml or *.yml file at", id="no manifest"),
    ],
)
def test_what_is_not_there_is_named(repository, files, settings, said) -> None:
    repository.commit(files)

    assert said in refusal(source_of(repository.path, **settings))


def test_a_link_is_refused_not_passed_over(repository) -> None:
    """What it declares would vanish, and its nodes with it."""
    repository.commit({"a.yaml": "x"}, links={"b.yaml": "a.yaml"})

    assert "b.yaml is a link" in refusal(source_of(repository.path))


def test_a_relative_path_of_a_secret_is_refused_since_there_is_no_folder(repository) -> None:
    text = node("nl-1").replace("{env: NODE_TOKEN}", "{file: secrets/nl-1}")
    repository.commit({"a.yaml": text})

    with pytest.raises(Exception, match=r"a.yaml:\d+:\d+: .*relative path"):
        load_bundle(source_of(repository.path))


def test_more_manifests_than_a_fleet_has_are_refused(repository, monkeypatch) -> None:
    monkeypatch.setattr(git, "MAX_FILES", 2)
    repository.commit({f"{number}.yaml": "x" for number in range(3)})

    assert "more than 2 manifests" in refusal(source_of(repository.path))


def test_a_repository_that_is_gone_is_named(tmp_path) -> None:
    assert f"{tmp_path}/none is no git repository" in refusal(source_of(tmp_path / "none"))


# -- https -----------------------------------------------------------------------------------------


def test_over_https_the_token_is_sent_and_an_unchanged_commit_is_not_fetched_again(
    repository, tmp_path
) -> None:
    commit = repository.commit({"a.yaml": node("nl-1")})
    with served(repository, tmp_path) as host:
        source = source_of(host.url, token=TOKEN, ca_file=host.ca_file)

        first, again = source.fetch(), source.fetch()
        moved = repository.commit({"b.yaml": node("nl-2")}, onto=None)
        after = source.fetch()

    assert (commit, moved) == (first.revision, after.revision)
    assert again is first
    assert ["b.yaml"] == [file.name for file in after.files]
    assert {f"git:{TOKEN}"} == set(host.authorized)
    assert 2 == host.asked.count("POST /fleet.git/git-upload-pack")


def test_history_is_not_fetched(repository, tmp_path, monkeypatch) -> None:
    """Ten revisions of a file that does not shrink: only the last one travels."""
    for number in range(10):
        noise = "".join(f"# {(number * 7919 + line) ** 7 % 10**18}\n" for line in range(2_000))
        repository.commit({"a.yaml": node("nl-1") + noise})
    monkeypatch.setattr(git, "MAX_BYTES", 40_000)

    with served(repository, tmp_path) as host:
        fetched = source_of(host.url, token=TOKEN, ca_file=host.ca_file).fetch()

        monkeypatch.setattr(git, "MAX_BYTES", 1_000)
        other = source_of(host.url, token=TOKEN, ca_file=host.ca_file)
        assert "sends more than 1000 bytes" in refusal(other)

    assert fetched.files[0].content.startswith(node("nl-1").encode())


def test_a_token_is_read_from_its_file_each_time(repository, tmp_path) -> None:
    repository.commit({"a.yaml": node("nl-1")})
    token_file = tmp_path / "token"
    token_file.write_text("an old one\n")
    with served(repository, tmp_path) as host:
        source = source_of(host.url, token_file=token_file, username="bot", ca_file=host.ca_file)

        before = refusal(source)
        token_file.write_text(f"{TOKEN}\n")
        source.fetch()

    assert "refused the token" in before
    assert f"bot:{TOKEN}" == host.authorized[-1]
    token_file.unlink()
    with pytest.raises(ConfigError, match=r"token file .* cannot be read"):
        source.fetch()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({}, "asks for a token", id="no token"),
        pytest.param({"token": "wrong-token-77"}, "refused the token", id="wrong token"),
        pytest.param({"ca_file": None}, "a certificate that we do not trust", id="certificate"),
    ],
)
def test_what_an_https_host_refuses_is_said_without_the_token(
    repository, tmp_path, caplog, settings, said
) -> None:
    """Neither in the message, nor in a cause behind it, nor in any library's log."""
    caplog.set_level(logging.DEBUG)
    repository.commit({"a.yaml": node("nl-1")})
    with served(repository, tmp_path) as host:
        source = source_of(host.url, **{"ca_file": host.ca_file, **settings})

        with pytest.raises(ManifestSourceUnavailable, match=said) as caught:
            source.fetch()

    told = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(source)
    assert "wrong-token-77" not in told
    assert "Basic " not in told


def test_a_host_that_is_down_and_one_that_is_not_there_are_told_apart(repository, tmp_path) -> None:
    repository.commit({"a.yaml": node("nl-1")})
    with served(repository, tmp_path) as host:
        source = source_of(host.url, token=TOKEN, ca_file=host.ca_file)
        host.down = True
        down = refusal(source)
        host.down = False
        source.fetch()
    gone = refusal(source)

    assert f"{host.url} answers with HTTP status 503" in down
    assert f"{host.url} cannot be reached: no connection" in gone


def test_a_host_that_is_no_git_host_is_said_to_be_none(repository, tmp_path) -> None:
    with served(repository, tmp_path) as host:
        url = host.url.replace("fleet", "other")
        source = source_of(url, token=TOKEN, ca_file=host.ca_file)

        assert "is no repository, or hides itself" in refusal(source)


# -- ssh -------------------------------------------------------------------------------------------


def test_over_ssh_the_key_file_is_used_and_nothing_is_asked(repository, tmp_path, fake_ssh) -> None:
    commit = repository.commit({"a.yaml": node("nl-1")})
    key, hosts = tmp_path / "key", tmp_path / "known hosts"
    source = source_of(
        f"ssh://git@git.example.net:2222{repository.path}",
        ssh_key_file=key, known_hosts_file=hosts,
    )  # fmt: skip

    fetched = source.fetch()

    assert (commit, ["a.yaml"]) == (fetched.revision, [file.name for file in fetched.files])
    assert [
        "-x", "-T",
        "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=20",
        "-o", f'UserKnownHostsFile="{hosts}"', "-o", "IdentitiesOnly=yes",
        "-i", str(key), "-p", "2222", "--", "git@git.example.net",
        f"git-upload-pack '{repository.path}'",
    ] == fake_ssh.called["words"]  # fmt: skip
    assert source.fetch() is fetched


def test_the_short_form_of_an_ssh_location_works(repository, fake_ssh) -> None:
    repository.commit({"a.yaml": node("nl-1")})

    assert ["a.yaml"] == names(source_of(f"git@git.example.net:{repository.path}"))
    assert "git@git.example.net" == fake_ssh.called["words"][-2]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        pytest.param("refuse", r"refused us: .*Permission denied \(publickey\)", id="key"),
        pytest.param("unknown host", "cannot be trusted: Host key verification", id="host key"),
    ],
)
def test_why_ssh_refused_is_passed_on(fake_ssh, mode, said) -> None:
    fake_ssh.mode(mode)

    with pytest.raises(ManifestSourceUnavailable, match=said):
        source_of("git@git.example.net:fleet.git").fetch()


def test_an_ssh_that_hangs_is_ended(fake_ssh) -> None:
    fake_ssh.mode("hang")
    settings = SyncSettings(repository="git@git.example.net:fleet.git", timeout_s=1)
    assert settings.location is not None

    assert "did not answer within 1 s" in refusal(GitSource(settings, settings.location))
    with pytest.raises(ProcessLookupError):
        os.kill(fake_ssh.called["pid"], 0)


def test_a_machine_without_ssh_is_told_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "there is no ssh command here" in refusal(source_of("git@git.example.net:fleet.git"))


def test_a_secret_is_part_of_no_representation() -> None:
    settings = SyncSettings(repository="https://git.example.net/fleet.git", token=SecretStr(TOKEN))
    assert settings.location is not None

    told = f"{settings!r} {settings} {GitSource(settings, settings.location)!r}"

    assert TOKEN not in told


def test_the_same_tests_need_no_git(repository: Repository) -> None:
    """The repository is one that git itself would accept: a head, and objects below it."""
    repository.commit({"a.yaml": "x"})

    assert "ref: refs/heads/main\n" == (Path(repository.path) / "HEAD").read_text()
