"""Customers: what they bought and brought back, what they wish for, and forgetting them.

Orders of a customer are the ledger's (:mod:`onhand.ledger`); everything else is in a database of
its own, see :mod:`onhand.customers.schema`.
"""
