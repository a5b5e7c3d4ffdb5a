"""Onhand: what is in stock, where, and what of it can still be promised."""
