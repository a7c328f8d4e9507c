"""What a cloud tells: origins, instances, retired authorities, what the brake holds, leases."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from tatu.store.columns import ID, NAME, TABLE, WORD, Moment

revision = "0002"
down_revision = "0001"


def _where(condition: str) -> dict[str, Any]:
    """Return an index's condition; MariaDB has none and indexes every row."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Add columns, which say nothing of the rows that are there, indexes and tables."""
    op.add_column("authorities", sa.Column("retired_at", Moment))
    op.add_column("certificates", sa.Column("origin", NAME))
    op.add_column(
        "certificates",
        sa.Column("proven", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.create_index(
        "certificates_by_origin",
        "certificates",
        ["origin", "sequence"],
        **_where("origin IS NOT NULL"),
    )
    op.create_index("certificates_by_end", "certificates", ["authority", "valid_before"])
    for name in ("instance", "legacy"):
        op.add_column(
            "hosts", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        )
    for name in ("admitted_at", "renewal_due_at"):
        op.add_column("hosts", sa.Column(name, Moment))
    op.create_index("hosts_by_id", "hosts", ["id"])
    op.create_index("host_principals_by_principal", "host_principals", ["principal"])
    options: dict[str, Any] = {**TABLE}
    op.create_table(
        "holds",
        sa.Column("authority", ID, sa.ForeignKey("authorities.id"), primary_key=True),
        sa.Column("kind", WORD, primary_key=True),
        sa.Column("value", NAME, primary_key=True),
        sa.Column("since", Moment, nullable=False),
        **options,
    )
    op.create_table(
        "leases",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("holder", NAME, nullable=False),
        sa.Column("until", Moment, nullable=False),
        **options,
    )
