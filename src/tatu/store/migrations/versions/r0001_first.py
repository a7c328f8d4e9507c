"""All tables of the first release, as they were then."""

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

from tatu.store.columns import (
    BYTES,
    DIGEST,
    FINGERPRINT,
    ID,
    LONG_TEXT,
    NAME,
    NUMBER,
    TABLE,
    WORD,
    Moment,
)

revision = "0001"
down_revision = None

metadata = sa.MetaData()


def _where(condition: str) -> dict[str, Any]:
    """Return an index's condition; MariaDB has none and indexes every row."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def _table(name: str, *parts: sa.Column[Any] | sa.Index) -> sa.Table:
    options: dict[str, Any] = {**TABLE}
    return sa.Table(name, metadata, *parts, **options)


def _id(name: str, *constraints: sa.ForeignKey) -> sa.Column[str]:
    return sa.Column(name, ID, *constraints, primary_key=True)


def _authority() -> sa.Column[str]:
    return sa.Column("authority", ID, sa.ForeignKey("authorities.id"), primary_key=True)


def _number(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, NUMBER, nullable=False, server_default=default)


# One row, which every change locks first: facts have one order, and so have cut-offs and records.
chain = _table(
    "chain",
    sa.Column("id", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("deployment", ID, nullable=False),
    _number("sequence"),
    sa.Column("hash", DIGEST, nullable=False),
    _number("mark"),
)

audit = _table(
    "audit",
    sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("authority", ID),
    sa.Column("previous", DIGEST, nullable=False),
    sa.Column("body", LONG_TEXT, nullable=False),
    sa.Column("hash", DIGEST, nullable=False),
    sa.Index("audit_by_authority", "authority", "sequence"),
)

cut_offs = _table(
    "cut_offs",
    sa.Column("mark", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("topic", LONG_TEXT, nullable=False),
    sa.Column("reason", LONG_TEXT, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("swept", sa.Boolean, nullable=False),
    sa.Index("cut_offs_by_swept", "swept", "mark"),
)

authorities = _table(
    "authorities",
    _id("id"),
    sa.Column("name", NAME, nullable=False),
    sa.Column("profile", LONG_TEXT, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    _number("revision"),
    _number("next_serial", "1"),
    _number("version_floor", "0"),
)

authority_keys = _table(
    "authority_keys",
    _authority(),
    sa.Column("position", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("reference", NAME, nullable=False),
    sa.Column("purpose", WORD, nullable=False),
    sa.Column("state", WORD, nullable=False),
    sa.Column("public_key", BYTES, nullable=False),
    sa.Column("fingerprint", FINGERPRINT, nullable=False, index=True),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("retired_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Index("authority_keys_by_reference", "authority", "reference", unique=True),
)

# `sequence` is that of the event that recorded it: newest first is one descending walk.
certificates = _table(
    "certificates",
    sa.Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("authority", ID, sa.ForeignKey("authorities.id"), nullable=False),
    _number("serial"),
    _number("type"),
    sa.Column("key_id", LONG_TEXT, nullable=False),
    sa.Column("principals", LONG_TEXT, nullable=False),
    sa.Column("subject_key", FINGERPRINT, nullable=False),
    sa.Column("signature_key", FINGERPRINT, nullable=False),
    sa.Column("valid_after", Moment, nullable=False),
    sa.Column("valid_before", Moment, nullable=False),
    sa.Column("issued_at", Moment, nullable=False),
    sa.Column("issuer", NAME, nullable=False),
    sa.Column("subject", ID),
    sa.Column("user_name", NAME, nullable=False),
    sa.Column("roles", LONG_TEXT, nullable=False),
    sa.Column("host", ID),
    sa.Column("blob", BYTES, nullable=False),
    sa.Column("revoked_at", Moment),
    sa.Column("revoked_reason", LONG_TEXT),
    sa.Column("revoked_by", NAME),
    sa.Index("certificates_by_serial", "authority", "serial", unique=True),
    sa.Index("certificates_by_subject", "subject", "sequence", **_where("subject IS NOT NULL")),
    sa.Index("certificates_by_subject_key", "subject_key", "type", "sequence"),
    sa.Index("certificates_by_host", "host", "sequence", **_where("host IS NOT NULL")),
    sa.Index(
        "certificates_revoked",
        "authority",
        "signature_key",
        "revoked_at",
        "valid_before",
        "serial",
        **_where("revoked_at IS NOT NULL"),
    ),
)

blocks = _table(
    "blocks",
    sa.Column("id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("authority", ID, sa.ForeignKey("authorities.id"), nullable=False),
    sa.Column("kind", WORD, nullable=False),
    sa.Column("value", NAME, nullable=False),
    sa.Column("reason", LONG_TEXT, nullable=False),
    sa.Column("by", NAME, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("cleared_at", Moment),
    sa.Index("blocks_by_authority", "authority", "cleared_at"),
)

publications = _table(
    "publications",
    _authority(),
    sa.Column("version", NUMBER, primary_key=True, autoincrement=False),
    _number("revision"),
    sa.Column("statement", BYTES, nullable=False),
    sa.Column("signature", LONG_TEXT, nullable=False),
    _number("krl_version"),
    sa.Column("issued_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
)

krls = _table(
    "krls",
    _authority(),
    sa.Column("version", NUMBER, primary_key=True, autoincrement=False),
    sa.Column("krl", BYTES, nullable=False),
)

hosts = _table(
    "hosts",
    _authority(),
    _id("id"),
    sa.Column("names", LONG_TEXT, nullable=False),
    sa.Column("addresses", LONG_TEXT, nullable=False),
    _number("epoch"),
    sa.Column("admitted_until", Moment, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("host_keys", LONG_TEXT, nullable=False),
    sa.Column("enrolled_at", Moment),
    sa.Column("deleted_at", Moment),
    sa.Column("refused_at", Moment),
    sa.Column("admitted_topics", LONG_TEXT),
)

# Every principal of every live host, held by one of them (security.md S8).
host_principals = _table(
    "host_principals",
    _authority(),
    sa.Column("principal", NAME, primary_key=True),
    sa.Column("host", ID, nullable=False),
    sa.Index("host_principals_by_host", "authority", "host"),
)

projects = _table(
    "projects",
    _id("id"),
    sa.Column("name", NAME, nullable=False, unique=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

users = _table(
    "users",
    _id("id"),
    sa.Column("name", NAME, nullable=False, unique=True),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

user_keys = _table(
    "user_keys",
    sa.Column("fingerprint", FINGERPRINT, primary_key=True),
    sa.Column("user", ID, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("public_key", BYTES, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

groups = _table("groups", _id("id"), sa.Column("name", NAME, nullable=False, unique=True))

members = _table(
    "members",
    _id("group", sa.ForeignKey("groups.id")),
    _id("user", sa.ForeignKey("users.id")),
    sa.Index("members_by_user", "user"),
)

roles = _table("roles", _id("id"), sa.Column("name", NAME, nullable=False, unique=True))

# `holder` is a user's or a group's id, as `kind` says.
assignments = _table(
    "assignments",
    _id("project", sa.ForeignKey("projects.id")),
    _id("role", sa.ForeignKey("roles.id")),
    sa.Column("kind", WORD, primary_key=True),
    _id("holder"),
    sa.Index("assignments_by_holder", "holder", "kind"),
    sa.Index("assignments_by_role", "role"),
)

challenges = _table(
    "challenges",
    _id("id"),
    sa.Column("deployment", ID, nullable=False),
    sa.Column("user", LONG_TEXT, nullable=False),
    sa.Column("project", LONG_TEXT, nullable=False),
    sa.Column("public_key", LONG_TEXT, nullable=False),
    sa.Column("purpose", WORD, nullable=False),
    sa.Column("nonce", NAME, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
)

tokens = _table(
    "tokens",
    sa.Column("digest", NAME, primary_key=True),
    sa.Column("user", ID, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("project", ID),
    sa.Column("key", FINGERPRINT, nullable=False, index=True),
    sa.Column("fresh", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False, index=True),
)

secrets = _table(
    "secrets",
    sa.Column("name", NAME, primary_key=True),
    sa.Column("wrapped", BYTES, nullable=False),
)

# `status` is NULL while the request is being worked on.
idempotency = _table(
    "idempotency",
    sa.Column("key", DIGEST, primary_key=True),
    sa.Column("digest", NAME, nullable=False),
    sa.Column("claimed_at", Moment, nullable=False, index=True),
    sa.Column("status", NUMBER),
    sa.Column("body", BYTES),
    sa.Column("certificates", LONG_TEXT),
)

limits = _table(
    "limits",
    sa.Column("key", DIGEST, primary_key=True),
    _number("window"),
    _number("used"),
    sa.Column("ends_at", Moment, nullable=False, index=True),
)


def upgrade() -> None:
    """Create the tables, and the chain without a link."""
    metadata.create_all(op.get_bind())
    op.bulk_insert(
        chain,
        [{"id": 1, "deployment": str(uuid.uuid4()), "sequence": 0, "hash": "0" * 64, "mark": 0}],
    )
