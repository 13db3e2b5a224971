"""The vault, and secrets by reference."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.errors import ConfigError
from desired_state.model.node import AuthRefs, Credentials, SecretRef
from desired_state.store.errors import SecretUnreadable
from desired_state.store.secrets import (
    MANIFEST,
    SECRET_FILE_LIMIT_BYTES,
    Place,
    Vault,
    make_key,
    resolve_credentials,
    resolve_secret,
)

KEY = make_key()
PLACES = st.builds(Place, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))


@given(secret=st.binary(max_size=64), place=PLACES)
def test_what_was_sealed_opens_in_its_place(secret: bytes, place: Place) -> None:
    vault = Vault([KEY])

    assert secret == vault.open(vault.seal(secret, place), place)


@given(secret=st.binary(max_size=8), place=PLACES, other=PLACES)
def test_no_two_places_open_each_others_secrets(secret: bytes, place: Place, other: Place) -> None:
    """However names are cut, and whatever the secret begins with."""
    vault = Vault([KEY])

    if place != other:
        with pytest.raises(SecretUnreadable):
            vault.open(vault.seal(secret, place), other)


def test_the_newest_key_encrypts_and_every_key_decrypts() -> None:
    old, new = make_key(), make_key()
    place = Place("t", "r", "f")
    sealed = Vault([old]).seal(b"s", place)
    both = Vault([new, old])

    assert b"s" == both.open(sealed, place)
    assert not both.is_newest(sealed)
    renewed = both.renew(sealed, place)
    assert both.is_newest(renewed)
    assert b"s" == Vault([new]).open(renewed, place)


def test_renewing_checks_the_place() -> None:
    vault = Vault([KEY])

    with pytest.raises(SecretUnreadable):
        vault.renew(vault.seal(b"s", Place("t", "1", "f")), Place("t", "2", "f"))


def test_a_sealed_secret_shows_nothing_when_printed() -> None:
    sealed = Vault([KEY]).seal(b"s", MANIFEST)

    assert "Sealed()" == repr(sealed)


@pytest.mark.parametrize("keys", [[], ["short"], [KEY, "not base64 at all" * 3]], ids=len)
def test_missing_and_malformed_keys_are_refused_by_position(keys: list[str]) -> None:
    with pytest.raises(ConfigError, match="encryption key") as caught:
        Vault(keys)
    assert not any(key in str(caught.value) for key in keys)


# -- references ------------------------------------------------------------------------------------


def test_a_variable_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed secret takes effect without a restart."""
    reference = SecretRef("env", "NL1_TOKEN")
    monkeypatch.setenv("NL1_TOKEN", "first")
    first = resolve_secret(reference, Vault([KEY]))
    monkeypatch.setenv("NL1_TOKEN", "second")

    assert ("first", "second") == (first, resolve_secret(reference, Vault([KEY])))


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NL1_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("NL1_TOKEN", value)

    with pytest.raises(ConfigError, match="NL1_TOKEN is not set"):
        resolve_secret(SecretRef("env", "NL1_TOKEN"), Vault([KEY]))


def test_a_files_last_line_break_is_no_part_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" a b \r\n")

    assert " a b " == resolve_secret(SecretRef("file", str(tmp_path / "token")), Vault([KEY]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"x" * (SECRET_FILE_LIMIT_BYTES + 1), "is larger than"),
        (None, "cannot be read"),
    ],
    ids=["empty", "only a line break", "binary", "too large", "missing"],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=f"token {message}"):
        resolve_secret(SecretRef("file", str(path)), Vault([KEY]))


def test_a_ciphertext_of_a_manifest_opens() -> None:
    vault = Vault([KEY])
    token = vault.seal(b"hunter2", MANIFEST).token

    assert "hunter2" == resolve_secret(SecretRef("ciphertext", token), vault)


def test_a_ciphertext_taken_from_the_database_is_refused() -> None:
    """Else a manifest could have any stored secret sent to a panel of its choice."""
    vault = Vault([KEY])
    stolen = vault.seal(b"seed", Place("key_generation", "k/1", "seed")).token

    with pytest.raises(SecretUnreadable):
        resolve_secret(SecretRef("ciphertext", stolen), vault)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="no kind of secret reference"):
        resolve_secret(SecretRef("vault", "x"), Vault([KEY]))


def test_credentials_hold_what_was_referred_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NL1_USER", "admin")
    monkeypatch.setenv("NL1_PASS", "hunter2")
    auth = AuthRefs(username=SecretRef("env", "NL1_USER"), password=SecretRef("env", "NL1_PASS"))

    found = resolve_credentials(auth, Vault([KEY]))

    assert Credentials(username="admin", password="hunter2") == found
    assert "hunter2" not in repr(found)


def test_the_field_of_a_missing_credential_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NL1_USER", "admin")
    monkeypatch.delenv("NL1_TOTP", raising=False)
    auth = AuthRefs(username=SecretRef("env", "NL1_USER"), totp_secret=SecretRef("env", "NL1_TOTP"))

    with pytest.raises(ConfigError, match=r"auth\.totp_secret: .*NL1_TOTP is not set"):
        resolve_credentials(auth, Vault([KEY]))
