"""Our decision for one title.

Its jobs, the options of each from best to fastest, what it takes of a node, the editions in which it goes out, and
how a job binds to its deadline.
"""
