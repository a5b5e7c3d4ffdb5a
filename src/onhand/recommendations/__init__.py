"""What is bought together, learnt from the sales in the log, and what of it can be sold now.

::

    stock.sales, stock.ledger --> gather --> Learner --> checkpoint (DATA)
                                  sales      baskets       |
                                             pairs         '--> snapshot (TABLE_DIR) --> Recommender
                                                                                         + Sellable

``onhand recommendations`` learns, in a process of its own beside ingest. Servers map its snapshot
and read: :class:`~onhand.recommendations.recommender.Recommender` ranks,
:class:`~onhand.recommendations.sellable.Sellable` says what of that is here or can be shipped.
"""
