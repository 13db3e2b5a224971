"""Column types and the two bases that all tables stand on.

Callers: `tables.desired`, `tables.status`, migrations. Names of tables are unique over both groups,
since SQLite keeps them in one flat namespace. Not here: tables, encryption (`store.secrets`).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, Dialect, Integer, MetaData, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import DateTime

DESIRED = "desired"
STATUS = "status"

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, so that a migration can drop it on both databases."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, in UTC on both databases; a naive one is refused.

    SQLite stores text without a zone, which sorts as the moments do.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware moment of any zone into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"a moment without a time zone: {value.isoformat()}"
            raise ValueError(message)
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A Fernet token that `store.secrets.Vault` bound to its table, row and field."""

    token: str = field(repr=False)


class SealedText(TypeDecorator[Sealed]):
    """A column that takes nothing but sealed values: plain text cannot be stored by mistake.

    It holds no keys. A value is opened where it is needed, by a vault, which checks that the table,
    row and field inside the ciphertext are those of the place that it was read from.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sealed | None, dialect: Dialect) -> str | None:
        """Refuse whatever was not sealed."""
        del dialect
        if value is None:
            return None
        if not isinstance(value, Sealed):
            message = "a secret must be sealed by the vault before it is stored"
            raise TypeError(message)
        return value.token

    def process_result_value(self, value: str | None, dialect: Dialect) -> Sealed | None:
        """Wrap the stored token; nothing is decrypted here."""
        del dialect
        return None if value is None else Sealed(value)


class Base(DeclarativeBase):
    """Root of all rows. Plain text, integers, JSON; relationships never load by themselves."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own declaration, read once)
        str: Text(),
        int: BigInteger(),
        datetime: UtcDateTime(),
        Sealed: SealedText(),
        dict[str, Any]: JSON(none_as_null=True).with_variant(
            JSONB(none_as_null=True), "postgresql"
        ),
        list[Any]: JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
    }


class DesiredRow(Base):
    """A row of what we want: written by commands only."""

    __abstract__ = True
    __table_args__: Any = {"schema": DESIRED}  # noqa: RUF012 (declared so by SQLAlchemy)


class StatusRow(Base):
    """A row of what is: written by the controller only."""

    __abstract__ = True
    __table_args__: Any = {"schema": STATUS}  # noqa: RUF012 (declared so by SQLAlchemy)


Serial = Annotated[
    int,
    # SQLite numbers rows by itself only in a column that is exactly INTEGER.
    mapped_column(BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
]
