"""The columns of a farm's past jobs as CSV: ``callsheet history`` writes them, the simulator reads them."""

PAST_JOBS = ("submit_s", "tier", "kind", "deadline_s", "predicted_s", "actual_s", "views")
"""Times in seconds: ``submit_s`` and ``deadline_s`` since the epoch, the other two are slot seconds."""
