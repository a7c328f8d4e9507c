"""What Alembic runs: the revisions, in the connection and transaction of `migrate`."""

from alembic import context

from tatu.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
