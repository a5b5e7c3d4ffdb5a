"""The ledger: what is set up, who may do what and, beside them, what is promised.

Start with :func:`open_ledger`; :mod:`onhand.ledger.schema` shows the tables.
"""

from onhand.ledger.authenticator import Authenticator
from onhand.ledger.engine import Ledger, open_ledger
from onhand.ledger.order_reads import OrderReads
from onhand.ledger.order_store import OrderStore
from onhand.ledger.setup_store import SetupStore
from onhand.ledger.tokens import TokenInfo, TokenStore

__all__ = [
    "Authenticator",
    "Ledger",
    "OrderReads",
    "OrderStore",
    "SetupStore",
    "TokenInfo",
    "TokenStore",
    "open_ledger",
]
