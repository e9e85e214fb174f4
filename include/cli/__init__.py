"""The command ``callsheet``, a module for each group of commands, and what it needs.

Client, console, demo, bench, calibration, generated pages.
"""
