"""Run by Alembic: applies revisions on the connection that :mod:`onhand.ledger.migrate` gives."""

from alembic import context

schema = context.config.attributes["schema"]

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    version_table=schema.version_table,
    # Both databases roll a half-done change of schema back with its transaction.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
