"""The order layer: what is promised, decided in one place. It knows no HTTP, no SQL and no log."""
