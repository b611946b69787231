"""The search on shared weights (docs/method.md §4, §5), read downwards from ``run.py``.

``evolution`` proposes scaled base models, ``ledger`` turns proposals into networks and has the new
ones measured (``scoring``, ``finetuning``), and ``memory`` writes each result to the journal that a
search continues from.
"""
