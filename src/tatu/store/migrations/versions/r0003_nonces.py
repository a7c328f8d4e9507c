"""Nonces of the requests that hosts sign."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from tatu.store.columns import DIGEST, TABLE, Moment

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add their table."""
    options: dict[str, Any] = {**TABLE}
    op.create_table(
        "nonces",
        sa.Column("nonce", DIGEST, primary_key=True),
        sa.Column("until", Moment, nullable=False, index=True),
        **options,
    )
