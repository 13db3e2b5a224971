"""What identifies a key on a panel: credentials from a seed, emails, marks."""

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desired_state.model.credentials import (
    PASSWORD_BYTES,
    derive_secrets,
    digest_secret,
    digest_secrets,
)
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import Generation, InboundId, KeyId
from desired_state.model.ownership import (
    EmailParts,
    InstallationSecret,
    Ownership,
    check_template,
)

SEEDS = st.binary(min_size=32, max_size=32)
KEYS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz234567", min_size=10, max_size=10).map(KeyId)
GENERATIONS = st.integers(1, 999_999_999).map(Generation)
OURS = Ownership((InstallationSecret(1, b"one installation"),))
OTHERS = Ownership((InstallationSecret(1, b"another installation"),))
KEY = KeyId("abcdefghij")


# -- credentials -----------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(sorted(set(PASSWORD_BYTES.values()))))
def test_credentials_have_the_shape_that_each_protocol_reads(seed: bytes, size: int) -> None:
    secrets = derive_secrets(seed, size)

    assert uuid.UUID(secrets.uuid).version == 4
    assert uuid.UUID(secrets.uuid).variant == uuid.RFC_4122
    assert size == len(base64.b64decode(secrets.password, validate=True))
    assert "/" not in secrets.password
    assert 32 == len(secrets.auth)
    assert secrets == derive_secrets(seed, size)


@given(SEEDS, SEEDS)
def test_no_two_generations_share_a_credential(first: bytes, second: bytes) -> None:
    one, other = derive_secrets(first), derive_secrets(second)

    if first != second:
        assert one.uuid != other.uuid
        assert one.password != other.password
        assert one.auth != other.auth


def test_credentials_of_a_seed_never_change() -> None:
    """Keys that are sold stay what they are over every release.

    Computed apart with `openssl dgst -mac HMAC`; the first password would have held a slash.
    """
    secrets = derive_secrets(bytes(range(32)), 16)

    assert (
        "b8295b5f-d639-4ccb-bea0-cf31a8e5b221",
        "rYZLiy+viDoM4H056KoeOw==",
        "25be136e238aeb9f4151bab2413909f9",
    ) == (secrets.uuid, secrets.password, secrets.auth)


def test_credentials_are_not_printed() -> None:
    secrets = derive_secrets(b"s" * 32)

    assert "ClientSecrets()" == repr(secrets)


def test_a_digest_tells_credentials_apart_without_holding_them() -> None:
    digest = digest_secrets("a-uuid", "a-password", "")

    assert f"{digest_secret('a-uuid')}.{digest_secret('a-password')}." == digest
    assert "a-uuid" not in digest
    assert digest_secrets("a-uuid", "another", "") != digest


# -- emails ----------------------------------------------------------------------------------------


@given(KEYS, GENERATIONS, st.none() | st.integers(0, 10**6).map(InboundId))
def test_an_email_of_ours_reads_back(
    key: KeyId, generation: Generation, inbound: InboundId | None
) -> None:
    email = OURS.email(key, generation, inbound)

    assert EmailParts(key, generation, inbound) == OURS.parse(email)
    assert EmailParts(key, generation, inbound) == OURS.parse(email.upper())


@pytest.mark.parametrize(
    "email",
    [
        "", "x3f-abcdefghij", "x3f-abcdefghi1-g1", "x3f-abcdefghij-g0", "x3f-abcdefghij-g01",
        "x3f-abcdefghijk-g1", "ax3f-abcdefghij-g1", "x3f-abcdefghij-g1-i", "x3f-abcdefghij-g1\n",
        "x3f-abcdefghij-g1-i1-i2", "x3f-abcdefghij-g1234567890",
    ],
)  # fmt: skip
def test_what_only_looks_like_ours_is_not_read(email: str) -> None:
    assert OURS.parse(email) is None


@given(KEYS, GENERATIONS)
def test_two_identities_never_share_an_email(key: KeyId, generation: Generation) -> None:
    emails = {
        OURS.email(key, generation),
        OURS.email(key, Generation(generation + 1)),
        OURS.email(key, generation, InboundId(1)),
        OURS.email(key, generation, InboundId(11)),
    }

    assert 4 == len({email.lower() for email in emails})


# -- marks -----------------------------------------------------------------------------------------


def test_a_mark_is_made_by_the_newest_secret_and_verified_by_all() -> None:
    old, new = InstallationSecret(1, b"old"), InstallationSecret(2, b"new")
    email = OURS.email(KEY, Generation(1))
    before, after = Ownership((old,)), Ownership((new, old))

    assert after.is_marked(email, before.mark(email))
    assert after.is_marked(email, after.mark(email))
    assert not before.is_marked(email, after.mark(email))
    assert 26 == len(after.mark(email))


@given(KEYS, GENERATIONS)
def test_a_mark_fits_one_email_of_one_installation(key: KeyId, generation: Generation) -> None:
    email = OURS.email(key, generation)

    assert OURS.is_marked(email, OURS.mark(email))
    assert OURS.is_marked(email.upper(), OURS.mark(email))
    assert not OURS.is_marked(OURS.email(key, Generation(generation + 1)), OURS.mark(email))
    assert not OURS.is_marked(email, OTHERS.mark(email))
    assert not OURS.is_marked(email, "")


def test_secrets_of_an_installation_are_not_printed() -> None:
    assert "one installation" not in repr(OURS) + repr(InstallationSecret(1, b"one installation"))


# -- templates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template", ["x3f-{key}-g{generation}", "{generation}.{key}", "a_{key}+{generation}@b"]
)
@given(key=KEYS, generation=GENERATIONS)
def test_an_accepted_template_reads_back(template: str, key: KeyId, generation: Generation) -> None:
    check_template(template)
    ownership = Ownership(OURS.secrets, template)

    for inbound in (None, InboundId(7)):
        email = ownership.email(key, generation, inbound)
        assert EmailParts(key, generation, inbound) == ownership.parse(email)


@pytest.mark.parametrize(
    "template",
    [
        "", "{key}", "{generation}", "{key}-{key}-{generation}", "a/{key}-{generation}",
        "a b-{key}-{generation}", "A-{key}-{generation}", "{key}{generation}", "{generation}{key}",
        "a\\{key}-{generation}", "{key}-{generation}\n", "{key}-{generation}?", "{key}-{generation}#",
        "{key}-{generation}%41", "{key}-{generation}-{other}",
    ],
)  # fmt: skip
def test_a_template_that_panels_could_not_address_is_refused(template: str) -> None:
    with pytest.raises(InvalidValue, match="email_template"):
        check_template(template)
