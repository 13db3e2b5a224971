"""Settings of the source of manifests: what is taken, what is refused by name and without its value."""

from pathlib import Path

import pytest

from desired_state.manifests.settings import SyncSettings, load_sync_settings
from desired_state.manifests.sources.choose import choose_source
from desired_state.manifests.sources.git import GitSource
from desired_state.manifests.sources.location import Transport, parse_location
from desired_state.manifests.sources.settled import Settled
from desired_state.model.errors import ConfigError

HTTPS = "https://git.example.net/fleet.git"
SSH = "git@git.example.net:fleet.git"


@pytest.mark.parametrize(
    ("text", "transport", "name", "path"),
    [
        (HTTPS, Transport.HTTP, HTTPS, "/fleet.git"),
        (f"{HTTPS}/", Transport.HTTP, HTTPS, "/fleet.git"),
        ("https://[::1]:3000/a/b", Transport.HTTP, "https://[::1]:3000/a/b", "/a/b"),
        (SSH, Transport.SSH, SSH, "fleet.git"),
        (
            "ssh://git@git.example.net:2222/srv/fleet.git", Transport.SSH,
            "ssh://git@git.example.net:2222/srv/fleet.git", "/srv/fleet.git",
        ),
        ("git.example.net:/srv/x", Transport.SSH, "ssh://git.example.net/srv/x", "/srv/x"),
        ("file:///srv/fleet.git", Transport.LOCAL, "/srv/fleet.git", "/srv/fleet.git"),
        ("/srv/./fleet.git/", Transport.LOCAL, "/srv/fleet.git", "/srv/fleet.git"),
    ],
)  # fmt: skip
def test_a_location_has_one_name_however_it_is_written(text, transport, name, path) -> None:
    found = parse_location(text)

    assert (transport, name, path) == (found.transport, found.name, found.path)


def test_a_relative_path_is_taken_from_where_the_process_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert str(tmp_path / "fleet.git") == parse_location("fleet.git").name


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"REPOSITORY": "https://git:hunter2@git.example.net/x"}, "holds a credential"),
        ({"REPOSITORY": "https://hunter2@git.example.net/x"}, "holds a credential"),
        ({"REPOSITORY": "ssh://git:hunter2@git.example.net/x"}, "holds a password"),
        ({"REPOSITORY": "https://git.example.net/x?token=hunter2"}, "no ?"),
        ({"REPOSITORY": "ssh://-oProxyCommand=hunter2/x"}, "names no host"),
        ({"REPOSITORY": "git@git.example.net:-hunter2"}, "names no host"),
        ({"REPOSITORY": "git@git.example.net:"}, "names no repository"),
        ({"REPOSITORY": "git://git.example.net/hunter2"}, "is neither https:// nor ssh://"),
        ({"REPOSITORY": HTTPS, "DIRECTORY": "/hunter2"}, "not both"),
        ({"REPOSITORY": HTTPS, "TOKEN": "hunter2", "TOKEN_FILE": "x"}, "not both"),
        ({"REPOSITORY": HTTPS.replace("https", "http"), "TOKEN": "hunter2"}, "https://"),
        ({"REPOSITORY": SSH, "TOKEN": "hunter2"}, "https://"),
        ({"REPOSITORY": HTTPS, "SSH_KEY_FILE": "hunter2"}, "ssh://"),
        ({"REPOSITORY": SSH, "CA_FILE": "hunter2"}, "CA_FILE"),
        ({"REPOSITORY": HTTPS, "PATH": "../hunter2"}, "X3FLEET_SYNC__PATH"),
        ({"REPOSITORY": HTTPS, "BRANCH": "--hunter2"}, "X3FLEET_SYNC__BRANCH"),
        ({"REPOSITORY": HTTPS, "EVERY_S": "0"}, "X3FLEET_SYNC__EVERY_S"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else None,
)
def test_what_cannot_work_is_refused_at_the_start_without_its_value(
    monkeypatch, variables, named
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"X3FLEET_SYNC__{name}", value)

    with pytest.raises(ConfigError) as caught:
        load_sync_settings()

    assert named in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch) -> None:
    for name, value in {
        "REPOSITORY": HTTPS, "BRANCH": "refs/heads/prod", "PATH": "/fleet/", "TOKEN_FILE": "/t",
        "EVERY_S": "15",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"X3FLEET_SYNC__{name}", value)

    assert (
        SyncSettings(
            repository=HTTPS, branch="prod", path="fleet", token_file=Path("/t"), every_s=15
        )
        == load_sync_settings()
    )


def test_a_source_is_what_the_settings_name(tmp_path) -> None:
    assert isinstance(choose_source(SyncSettings(directory=tmp_path)), Settled)
    assert isinstance(choose_source(SyncSettings(repository=SSH)), GitSource)
    with pytest.raises(ConfigError, match="X3FLEET_SYNC__DIRECTORY or X3FLEET_SYNC__REPOSITORY"):
        choose_source(SyncSettings())
