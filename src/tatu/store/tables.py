"""The tables of the ledger. Lists and mappings are JSON text; times are microseconds."""

from typing import Any

from sqlalchemy import Boolean, Column, ForeignKey, Index, MetaData, Table, false, text, true

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

metadata = MetaData()


def _where(condition: str) -> dict[str, Any]:
    """Return an index's condition; MariaDB has none and indexes every row."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def _table(name: str, *parts: Column[Any] | Index) -> Table:
    options: dict[str, Any] = {**TABLE}
    return Table(name, metadata, *parts, **options)


def _id(name: str, *constraints: ForeignKey) -> Column[str]:
    return Column(name, ID, *constraints, primary_key=True)


def _authority() -> Column[str]:
    return Column("authority", ID, ForeignKey("authorities.id"), primary_key=True)


def _number(name: str, default: str | None = None) -> Column[int]:
    return Column(name, NUMBER, nullable=False, server_default=default)


# One row, which every change locks first: facts have one order, and so have cut-offs and records.
chain = _table(
    "chain",
    Column("id", NUMBER, primary_key=True, autoincrement=False),
    Column("deployment", ID, nullable=False),
    _number("sequence"),
    Column("hash", DIGEST, nullable=False),
    _number("mark"),
)

audit = _table(
    "audit",
    Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    Column("authority", ID),
    Column("previous", DIGEST, nullable=False),
    Column("body", LONG_TEXT, nullable=False),
    Column("hash", DIGEST, nullable=False),
    Index("audit_by_authority", "authority", "sequence"),
)

cut_offs = _table(
    "cut_offs",
    Column("mark", NUMBER, primary_key=True, autoincrement=False),
    Column("topic", LONG_TEXT, nullable=False),
    Column("reason", LONG_TEXT, nullable=False),
    Column("at", Moment, nullable=False),
    Column("swept", Boolean, nullable=False),
    Index("cut_offs_by_swept", "swept", "mark"),
)

authorities = _table(
    "authorities",
    _id("id"),
    Column("name", NAME, nullable=False),
    Column("profile", LONG_TEXT, nullable=False),
    Column("created_at", Moment, nullable=False),
    _number("revision"),
    _number("next_serial", "1"),
    _number("version_floor", "0"),
    Column("retired_at", Moment),
)

authority_keys = _table(
    "authority_keys",
    _authority(),
    Column("position", NUMBER, primary_key=True, autoincrement=False),
    Column("reference", NAME, nullable=False),
    Column("purpose", WORD, nullable=False),
    Column("state", WORD, nullable=False),
    Column("public_key", BYTES, nullable=False),
    Column("fingerprint", FINGERPRINT, nullable=False, index=True),
    Column("created_at", Moment, nullable=False),
    Column("retired_at", Moment),
    Column("revoked_at", Moment),
    Index("authority_keys_by_reference", "authority", "reference", unique=True),
)

# `sequence` is that of the event that recorded it: newest first is one descending walk.
certificates = _table(
    "certificates",
    Column("sequence", NUMBER, primary_key=True, autoincrement=False),
    Column("authority", ID, ForeignKey("authorities.id"), nullable=False),
    _number("serial"),
    _number("type"),
    Column("key_id", LONG_TEXT, nullable=False),
    Column("principals", LONG_TEXT, nullable=False),
    Column("subject_key", FINGERPRINT, nullable=False),
    Column("signature_key", FINGERPRINT, nullable=False),
    Column("valid_after", Moment, nullable=False),
    Column("valid_before", Moment, nullable=False),
    Column("issued_at", Moment, nullable=False),
    Column("issuer", NAME, nullable=False),
    Column("subject", ID),
    Column("user_name", NAME, nullable=False),
    Column("roles", LONG_TEXT, nullable=False),
    Column("host", ID),
    Column("blob", BYTES, nullable=False),
    Column("revoked_at", Moment),
    Column("revoked_reason", LONG_TEXT),
    Column("revoked_by", NAME),
    Column("origin", NAME),
    Column("proven", Boolean, nullable=False, server_default=true()),
    Index("certificates_by_serial", "authority", "serial", unique=True),
    Index("certificates_by_subject", "subject", "sequence", **_where("subject IS NOT NULL")),
    Index("certificates_by_subject_key", "subject_key", "type", "sequence"),
    Index("certificates_by_host", "host", "sequence", **_where("host IS NOT NULL")),
    Index(
        "certificates_revoked",
        "authority",
        "signature_key",
        "revoked_at",
        "valid_before",
        "serial",
        **_where("revoked_at IS NOT NULL"),
    ),
    Index("certificates_by_origin", "origin", "sequence", **_where("origin IS NOT NULL")),
    Index("certificates_by_end", "authority", "valid_before"),
)

blocks = _table(
    "blocks",
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("authority", ID, ForeignKey("authorities.id"), nullable=False),
    Column("kind", WORD, nullable=False),
    Column("value", NAME, nullable=False),
    Column("reason", LONG_TEXT, nullable=False),
    Column("by", NAME, nullable=False),
    Column("at", Moment, nullable=False),
    Column("cleared_at", Moment),
    Index("blocks_by_authority", "authority", "cleared_at"),
)

publications = _table(
    "publications",
    _authority(),
    Column("version", NUMBER, primary_key=True, autoincrement=False),
    _number("revision"),
    Column("statement", BYTES, nullable=False),
    Column("signature", LONG_TEXT, nullable=False),
    _number("krl_version"),
    Column("issued_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

krls = _table(
    "krls",
    _authority(),
    Column("version", NUMBER, primary_key=True, autoincrement=False),
    Column("krl", BYTES, nullable=False),
)

hosts = _table(
    "hosts",
    _authority(),
    _id("id"),
    Column("names", LONG_TEXT, nullable=False),
    Column("addresses", LONG_TEXT, nullable=False),
    _number("epoch"),
    Column("admitted_until", Moment, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("host_keys", LONG_TEXT, nullable=False),
    Column("enrolled_at", Moment),
    Column("deleted_at", Moment),
    Column("refused_at", Moment),
    # what must not end before the token is redeemed: the permission of whoever admitted it
    Column("admitted_topics", LONG_TEXT),
    Column("instance", Boolean, nullable=False, server_default=false()),
    Column("legacy", Boolean, nullable=False, server_default=false()),
    Column("admitted_at", Moment),
    Column("renewal_due_at", Moment),
    # on the original's wire a host that enrols names no authority
    Index("hosts_by_id", "id"),
)

# Every principal of every live host, held by one of them (security.md S8).
host_principals = _table(
    "host_principals",
    _authority(),
    Column("principal", NAME, primary_key=True),
    Column("host", ID, nullable=False),
    Index("host_principals_by_host", "authority", "host"),
    # an address that changed: its notice may name no project
    Index("host_principals_by_principal", "principal"),
)

# Losses that were inferred, too many at once to be believed (security.md S22).
holds = _table(
    "holds",
    _authority(),
    Column("kind", WORD, primary_key=True),
    Column("value", NAME, primary_key=True),
    Column("since", Moment, nullable=False),
)

leases = _table(
    "leases",
    Column("name", NAME, primary_key=True),
    Column("holder", NAME, nullable=False),
    Column("until", Moment, nullable=False),
)

projects = _table(
    "projects",
    _id("id"),
    Column("name", NAME, nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
)

users = _table(
    "users",
    _id("id"),
    Column("name", NAME, nullable=False, unique=True),
    Column("enabled", Boolean, nullable=False),
)

user_keys = _table(
    "user_keys",
    Column("fingerprint", FINGERPRINT, primary_key=True),
    Column("user", ID, ForeignKey("users.id"), nullable=False, index=True),
    Column("public_key", BYTES, nullable=False),
    Column("created_at", Moment, nullable=False),
)

groups = _table("groups", _id("id"), Column("name", NAME, nullable=False, unique=True))

members = _table(
    "members",
    _id("group", ForeignKey("groups.id")),
    _id("user", ForeignKey("users.id")),
    Index("members_by_user", "user"),
)

roles = _table("roles", _id("id"), Column("name", NAME, nullable=False, unique=True))

# `holder` is a user's or a group's id, as `kind` says.
assignments = _table(
    "assignments",
    _id("project", ForeignKey("projects.id")),
    _id("role", ForeignKey("roles.id")),
    Column("kind", WORD, primary_key=True),
    _id("holder"),
    Index("assignments_by_holder", "holder", "kind"),
    Index("assignments_by_role", "role"),
)

challenges = _table(
    "challenges",
    _id("id"),
    Column("deployment", ID, nullable=False),
    Column("user", LONG_TEXT, nullable=False),
    Column("project", LONG_TEXT, nullable=False),
    Column("public_key", LONG_TEXT, nullable=False),
    Column("purpose", WORD, nullable=False),
    Column("nonce", NAME, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
)

tokens = _table(
    "tokens",
    Column("digest", NAME, primary_key=True),
    Column("user", ID, ForeignKey("users.id"), nullable=False, index=True),
    Column("project", ID),
    Column("key", FINGERPRINT, nullable=False, index=True),
    Column("fresh", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False, index=True),
)

secrets = _table(
    "secrets", Column("name", NAME, primary_key=True), Column("wrapped", BYTES, nullable=False)
)

# `status` is NULL while the request is being worked on.
idempotency = _table(
    "idempotency",
    Column("key", DIGEST, primary_key=True),
    Column("digest", NAME, nullable=False),
    Column("claimed_at", Moment, nullable=False, index=True),
    Column("status", NUMBER),
    Column("body", BYTES),
    Column("certificates", LONG_TEXT),
)

limits = _table(
    "limits",
    Column("key", DIGEST, primary_key=True),
    _number("window"),
    _number("used"),
    Column("ends_at", Moment, nullable=False, index=True),
)

nonces = _table(
    "nonces",
    Column("nonce", DIGEST, primary_key=True),
    Column("until", Moment, nullable=False, index=True),
)

# What hosts tell of themselves: the latest of each host, as it was enrolled then.
receipts = _table(
    "receipts",
    _authority(),
    Column("host", ID, primary_key=True),
    _number("statement_version"),
    _number("krl_version"),
    Column("krl_digest", NAME, nullable=False),
    Column("at", Moment, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("proof", LONG_TEXT, nullable=False),
    # all that is counted of a fleet, without the proofs
    Index("receipts_counted", "authority", "host", "received_at", "krl_version"),
)

reports = _table(
    "reports",
    _authority(),
    Column("host", ID, primary_key=True),
    Column("received_at", Moment, nullable=False),
    Column("agent_version", NAME, nullable=False),
    Column("openssh", NAME, nullable=False),
    Column("os", NAME, nullable=False),
    Column("findings", LONG_TEXT, nullable=False),
    Column("sessions", LONG_TEXT, nullable=False),
)

# `serial` is text: a certificate that nobody of ours made has any number of 64 bits.
logins = _table(
    "logins",
    Column("sequence", NUMBER, primary_key=True, autoincrement=True),
    Column("authority", ID, ForeignKey("authorities.id"), nullable=False),
    Column("host", ID, nullable=False),
    Column("id", ID, nullable=False),
    Column("received_at", Moment, nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("kind", WORD, nullable=False),
    Column("account", NAME, nullable=False),
    Column("serial", NAME),
    Column("key_id", NAME),
    Column("subject_key", NAME),
    Column("signature_key", NAME),
    Column("source", NAME, nullable=False),
    Column("detail", NAME, nullable=False),
    Column("subject", ID, nullable=False),
    Column("user_name", NAME, nullable=False),
    Column("alarm", NAME, nullable=False),
    Index("logins_by_id", "authority", "host", "id", unique=True),
    Index("logins_by_host", "authority", "host", "sequence"),
    Index("logins_by_authority", "authority", "sequence"),
    Index("logins_by_subject", "subject", "sequence"),
    Index("logins_by_serial", "authority", "serial", "sequence"),
    Index("logins_alarming", "authority", "sequence", **_where("alarm <> ''")),
)
