"""Which title goes first, and whether it will be in time.

Value, priority, admission, the work ahead, shares of the slots.
"""
