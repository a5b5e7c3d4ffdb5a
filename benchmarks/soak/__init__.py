"""A soak: a whole deployment under a mixed load for as long as one likes, watched and checked.

:mod:`.run` starts ``onhand up``, sets it up and lets three processes work on it by the clock:
:mod:`.feed` publishes stock events, :mod:`.reads` reads, :mod:`.lives` walks orders through whole
lives. :mod:`.watch` samples memory, time and sizes meanwhile. Afterwards :mod:`.check` holds what
the deployment says against what it has acknowledged, :mod:`.verdict` judges whether anything grew,
and :mod:`.report` writes and draws it.
"""
