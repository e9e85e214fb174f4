"""What is asked for.

The batch request, its titles and their states, steering, and the keys of what a title leaves in the store. Nothing
about pictures or money.
"""
