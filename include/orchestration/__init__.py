"""What imports Airflow.

DAGs from pipelines, the bundle, weights, deadlines, the minute's tick; in ``runtimes`` where tasks run.
"""
