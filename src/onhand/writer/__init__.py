"""The order writer: the one part that takes commands, decides them, commits them, and answers.

``orders`` decides and does no I/O; the rooms here are its edge:

==============  ===============================================================================
writer.py       the thread: takes what waits, decides, commits once, answers
deciding.py     one batch of commands, from looking up keys to the rows of its commit
stock.py        the tables, as decisions see them
supply_watch.py what supply has applied and changed since the last look
upkeep.py       what becomes due by itself: expiries, no-shows, shortfalls
recovery.py     from a ledger to a book at start
asking.py       the door for an event loop
outbox.py       what is committed, on its way to the log
claims_feed.py  what tills say about promised goods, on its way to a decision
==============  ===============================================================================
"""
