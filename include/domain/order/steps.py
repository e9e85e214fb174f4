"""How far a step is within a title, as Airflow's weights know it.

Among titles of one priority the step with the higher weight gets a free slot: a finished title is worth more than a
started one.
"""

HEAVIEST_STEP = 9
"""A step's weight is a whole number from 0 to this one."""
