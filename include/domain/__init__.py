"""The rules of Callsheet, pure: no Airflow, no I/O, no clock, no randomness, no numpy.

Time, capacity and randomness are arguments. Rooms by subject, in the order in which they may use each other: title,
media, recipe, cost, plan, order, outcome, telling.
"""
