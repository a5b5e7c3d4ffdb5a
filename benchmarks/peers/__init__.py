"""What people would pick instead of onhand, beside it in the same run, each with its real server.

Servers that promise answer the same requests over HTTP, keep what they accept on disk before they
answer, and are asked for the last units of a few SKUs by many buyers at once: :mod:`.scramble`
counts what they sold beyond what there was. What only reads or adds is compared with what it exists
for, and promises nothing.

A peer whose server is not there is skipped with a sentence that says what to install.
"""
