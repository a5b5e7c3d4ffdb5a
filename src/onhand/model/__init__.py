"""Frozen value types and the rules they keep; no I/O."""
