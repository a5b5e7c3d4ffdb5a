"""PostgreSQL as it is when it has run for a while."""

import psycopg

WRITTEN_BYTES = 800_000_000


def age(server_url):
    """Have a new server write its log once round, so that it has segments to use again.

    A new one fills each segment of 16 MiB with zeros and waits for the disk, which holds up every
    commit for about 50 ms; one that has made some checkpoints uses old segments again.
    """
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE written AS "
            f"SELECT repeat('x', 1000) FROM generate_series(1, {WRITTEN_BYTES // 1000})"
        )
        connection.execute("DROP TABLE written")
        connection.execute("CHECKPOINT")
