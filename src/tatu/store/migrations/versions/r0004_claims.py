"""What hosts tell: receipts, reports, logins."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from tatu.store.columns import ID, LONG_TEXT, NAME, NUMBER, TABLE, WORD, Moment

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add their tables."""
    options: dict[str, Any] = {**TABLE}
    op.create_table(
        "receipts",
        _authority(primary_key=True),
        sa.Column("host", ID, primary_key=True),
        sa.Column("statement_version", NUMBER, nullable=False),
        sa.Column("krl_version", NUMBER, nullable=False),
        sa.Column("krl_digest", NAME, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("received_at", Moment, nullable=False),
        sa.Column("proof", LONG_TEXT, nullable=False),
        **options,
    )
    op.create_index(
        "receipts_counted", "receipts", ["authority", "host", "received_at", "krl_version"]
    )
    op.create_table(
        "reports",
        _authority(primary_key=True),
        sa.Column("host", ID, primary_key=True),
        sa.Column("received_at", Moment, nullable=False),
        sa.Column("agent_version", NAME, nullable=False),
        sa.Column("openssh", NAME, nullable=False),
        sa.Column("os", NAME, nullable=False),
        sa.Column("findings", LONG_TEXT, nullable=False),
        sa.Column("sessions", LONG_TEXT, nullable=False),
        **options,
    )
    op.create_table(
        "logins",
        sa.Column("sequence", NUMBER, primary_key=True, autoincrement=True),
        _authority(nullable=False),
        sa.Column("host", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("received_at", Moment, nullable=False, index=True),
        sa.Column("at", Moment, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("account", NAME, nullable=False),
        sa.Column("serial", NAME),
        sa.Column("key_id", NAME),
        sa.Column("subject_key", NAME),
        sa.Column("signature_key", NAME),
        sa.Column("source", NAME, nullable=False),
        sa.Column("detail", NAME, nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("user_name", NAME, nullable=False),
        sa.Column("alarm", NAME, nullable=False),
        **options,
    )
    op.create_index("logins_by_id", "logins", ["authority", "host", "id"], unique=True)
    op.create_index("logins_by_host", "logins", ["authority", "host", "sequence"])
    op.create_index("logins_by_authority", "logins", ["authority", "sequence"])
    op.create_index("logins_by_subject", "logins", ["subject", "sequence"])
    op.create_index("logins_by_serial", "logins", ["authority", "serial", "sequence"])
    op.create_index(
        "logins_alarming",
        "logins",
        ["authority", "sequence"],
        postgresql_where=sa.text("alarm <> ''"),
        sqlite_where=sa.text("alarm <> ''"),
    )


def _authority(**options: Any) -> sa.Column[str]:
    return sa.Column("authority", ID, sa.ForeignKey("authorities.id"), **options)
