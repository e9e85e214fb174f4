# syntax=docker/dockerfile:1
# Airflow's components with Callsheet in them: API server, scheduler, DAG processor, triggerer, the commands.
# Build from the project's root: docker build -f docker/airflow.Dockerfile -t callsheet-airflow:0.3.0 .
#
# The official image gives entry point, user and folders, which the Helm chart counts on. The packages are ours, in an
# environment of its own: exactly those that the tests ran with, and no provider of the base's beside them.
ARG BASE=apache/airflow:slim-3.3.2-python3.11

FROM ${BASE} AS build
USER 0
RUN install -d -o airflow -g 0 /opt/callsheet /opt/callsheet/app
# Numbers, here and below, are the base's own: 50000 is its user `airflow`.
USER 50000
ENV PIP_USER=false
WORKDIR /opt/callsheet/app
COPY docker/airflow-requirements.txt /tmp/airflow-requirements.txt
RUN python -m venv /opt/callsheet/venv \
    && /opt/callsheet/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/airflow-requirements.txt
COPY --chown=airflow:0 pyproject.toml README.md LICENSE airflow_settings.yaml package.json package-lock.json ./
COPY --chown=airflow:0 include include
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 plugins plugins
COPY --chown=airflow:0 ml ml
# The command `callsheet`, and hls.js for the preview page of the local runtime.
RUN /opt/callsheet/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && /opt/callsheet/venv/bin/python -m include.adapters.players \
    && /opt/callsheet/venv/bin/python -m compileall -q include dags plugins ml

FROM ${BASE}
LABEL org.opencontainers.image.title="Callsheet on Airflow" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build --chown=airflow:0 /opt/callsheet /opt/callsheet
USER 0
RUN install -d -o airflow -g 0 -m 0775 /var/lib/callsheet /opt/airflow/bundles
# Airflow puts neither the project root nor dags/ on the path; without it the plugin vanishes in silence.
ENV PATH=/opt/callsheet/venv/bin:$PATH \
    VIRTUAL_ENV=/opt/callsheet/venv \
    PIP_USER=false \
    PYTHONPATH=/opt/callsheet/app \
    PYTHONDONTWRITEBYTECODE=1 \
    CALLSHEET_HOME=/var/lib/callsheet \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/callsheet/app/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/callsheet/app/plugins \
    AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH=/opt/airflow/bundles
# A number: Kubernetes can tell from it that this is not root.
USER 50000
# For a component of no other kind; compose.yaml and the Helm chart ask each component about itself.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 CMD ["airflow", "db", "check"]
