"""What decides and writes, without Airflow.

Intake, valuation, release, risks, settling, sending, replay, steering, housekeeping, upgrades.
"""
