# Two images of one code: `cli` plans, steers, reports and serves the dashboard; `worker` has PyTorch too, and trains.
#
#   docker build --target worker --tag rigl-study:worker .
#   docker build --target cli --tag rigl-study:cli .
#
# It keeps to what Docker's classic builder knows, so that it builds with any engine.

FROM python:3.11-slim-bookworm AS base
# No names that could be in use, no home, no shell. Group 0 is not wanted either.
RUN groupadd --gid 10001 rigl && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin rigl && \
    # A volume that is empty takes over owner and mode from here.
    install --directory --owner=10001 --group=10001 /data /checkpoints /run/secrets/rigl-study
ENV PATH=/opt/venv/bin:/opt/rigl-study/bin:$PATH \
    PYTHONPATH=/opt/rigl-study \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    RIGL_STUDY_HOME=/tmp/rigl-study \
    RIGL_STUDY_DATA=/data \
    RIGL_STUDY_CHECKPOINTS=/checkpoints

# What the project depends on, by itself: whatever else changes in pyproject.toml then installs nothing anew.
FROM base AS requirements
COPY pyproject.toml /project/
RUN python3 -c "import tomllib; \
    project = tomllib.load(open('/project/pyproject.toml', 'rb'))['project']; \
    extras = project['optional-dependencies']; \
    write = lambda name, lines: open(f'/project/{name}.txt', 'w').write('\n'.join(lines)); \
    write('cli', project['dependencies'] + extras['dashboard']); \
    write('train', extras['train'])"

FROM base AS builder-cli
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# pip stays behind here: nobody installs anything in the final image.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY constraints.txt /project/
COPY --from=requirements /project/cli.txt /project/
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install -c /project/constraints.txt -r /project/cli.txt

FROM builder-cli AS builder-worker
# Which torch: empty for the one of PyPI (CUDA), or the address of one of PyTorch's own indexes; see .env.example.
# Only torch and torchvision come from there, and no other index can stand in for it.
ARG TORCH_INDEX_URL=
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
      /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --index-url "$TORCH_INDEX_URL" \
        -c /project/constraints.txt torch torchvision; \
    fi
COPY --from=requirements /project/train.txt /project/
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install -c /project/constraints.txt -r /project/train.txt

# The project itself, in a folder of its own: a change of it costs one small layer.
FROM builder-cli AS builder-project
RUN /opt/pip/bin/pip install --target /opt/hatchling "hatchling>=1.27,<2"
COPY pyproject.toml README.md LICENSE /project/
COPY rigl_core /project/rigl_core
COPY studies /project/studies
COPY workers /project/workers
RUN PYTHONPATH=/opt/hatchling /opt/pip/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /project && \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --target /opt/rigl-study /wheels/*.whl

FROM base AS cli
COPY --from=builder-cli /opt/venv /opt/venv
COPY --from=builder-project /opt/rigl-study /opt/rigl-study
COPY deploy/compose/make_password.py /opt/rigl-study/make_password.py
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rigl-study cli" \
      org.opencontainers.image.description="Plan, steer and report studies of sparse training; no PyTorch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["rigl-study"]
CMD ["--help"]

FROM base AS worker
COPY --from=builder-worker /opt/venv /opt/venv
COPY --from=builder-project /opt/rigl-study /opt/rigl-study
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="rigl-study worker" \
      org.opencontainers.image.description="Train the trials of studies of sparse training" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["rigl-study"]
CMD ["work", "--forever", "--workers", "auto", "--health-file", "/tmp/health.json"]
# Of the processes alone: while the database is away they wait, and to start them anew would help nobody.
HEALTHCHECK --interval=30s --timeout=30s --start-period=60s --retries=3 CMD ["rigl-study", "health", "/tmp/health.json"]
