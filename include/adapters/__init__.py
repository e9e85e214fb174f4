"""One outside thing each.

Ffmpeg, the packager, VMAF, the store, S3, the catalog, Airflow's API, Slack, receivers of webhooks. They decide
nothing.
"""
