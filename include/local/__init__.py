"""The stack of one machine: its processes, secrets, ports and settings of Airflow, and SQLite's."""
