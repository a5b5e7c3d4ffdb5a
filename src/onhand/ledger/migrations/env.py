"""Run by Alembic: applies revisions on the connection that :mod:`onhand.ledger.migrate` gives."""

from alembic import context

from onhand.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # Both databases roll a half-done change of schema back with its transaction.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
