-- The second database beside Airflow's metadata: Callsheet's catalog. Run by the postgres image when its volume is empty.
CREATE DATABASE callsheet;
