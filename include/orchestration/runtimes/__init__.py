"""Where the tasks of a pool run: local, control, kubernetes.

What a runtime is: ``runtime.py``; which pool has which: ``registry.py``.
"""
