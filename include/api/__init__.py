"""What the plugin mounts on Airflow's API server.

JSON for CMS and command line, the queue page, media of the store.
"""
