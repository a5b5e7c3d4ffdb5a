"""The native table: its files, its writer and its readers."""
