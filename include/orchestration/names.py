"""The names that Callsheet gives to things in Airflow; DAG and run ids come from the catalog."""

from __future__ import annotations

BATCH_PREFIX = "batch__"

CONTROL_POOL = "control"
"""Intake, dispatch and the short tasks around the encodes: never behind an encode."""
CPU_POOL = "cpu_encode"
