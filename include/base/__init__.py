"""The ground floor: documents, shown text, errors and their retry classes, settings, pools.

Knows no title and no codec.
"""
