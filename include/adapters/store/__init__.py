"""The object store.

What any store can do, its keys, the local one, documents in it, and how one is opened by its address.
"""
