"""The order writer: the one part that takes commands, decides them, commits them, and answers.

``orders`` decides and does no I/O; the rooms here are its edge:

==============  ===============================================================================
writer.py       the thread: from starting to deciding to its end
recovery.py     from a ledger to a book at start
turns.py        its turns: takes what waits, decides, commits once, answers
intake.py       where commands wait for their turn, and waiting.py how their answers get back
asking.py       the door for an event loop
deciding.py     one batch of commands, from looking up keys to the rows of its commit
touched.py      the holds, orders and returns that must be in the book before a batch
rows.py         from what a batch has changed to the rows of its commit
stock.py        the tables, as decisions see them
supply_watch.py what supply has applied and changed since the last look
setup_watch.py  what is set up, followed as it changes
background.py   what becomes due by itself: expiries, no-shows, shortfalls
outbox.py       what is committed, on its way to the log
claims_feed.py  what tills say about promised goods, on its way to a decision
verify.py       what is promised, compared with the ledger
==============  ===============================================================================
"""
