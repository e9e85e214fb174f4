"""What learns from the history of encodes. Empty so far: the nightly training comes here.

It may import :mod:`include.domain` and nothing else of the project; nothing in ``include`` imports it. A trained model
crosses as a versioned artifact in the store.
"""
