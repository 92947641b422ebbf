# Two images of one code: `cli` plans, steers, reports and serves the dashboard; `worker` has PyTorch too, and trains.
#
#   docker build --target worker --tag rigl-study:worker .
#   docker build --target cli --tag rigl-study:cli .
#
# It keeps to what Docker's classic builder knows, so that it builds with any engine.

# Empty, or a digest that pins the base image: @sha256:...; see docs/containers.md.
ARG PYTHON_DIGEST=
FROM python:3.11-slim-bookworm${PYTHON_DIGEST} AS base
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

FROM base AS builder-cli
# What is installed is what deploy/locks lists, file by file, and nothing that would run code of its own to be built.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    LOCKED="--require-hashes --no-deps --only-binary=:all:"
# pip stays behind here: nobody installs anything in the final image.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY deploy/locks/cli.txt /project/
RUN /opt/pip/bin/pip --python /opt/venv/bin/python install $LOCKED -r /project/cli.txt && \
    /opt/pip/bin/pip --python /opt/venv/bin/python check

FROM builder-cli AS builder-worker
# Which torch: empty for the one of PyPI (CUDA), or the address of one of PyTorch's own indexes; see .env.example. The
# files of that index are checked if `make lock` has listed them. Only torch and torchvision come from there.
ARG TORCH_INDEX_URL=
COPY constraints.txt deploy/locks /project/
RUN set -e; install="/opt/pip/bin/pip --python /opt/venv/bin/python install"; cd /project; \
    if [ -z "$TORCH_INDEX_URL" ]; then \
      # The torch for the CPU is not on PyPI. If it lies in a folder that pip looks into (find-links), it is taken.
      $install $LOCKED --no-index -r torch-cpu.txt 2>/dev/null || echo "no torch for the CPU in a folder: that of PyPI"; \
      $install $LOCKED -r train.txt; \
      # A torch without CUDA needs none of its libraries.
      if /opt/venv/bin/python -c "from importlib.metadata import requires; \
          exit(not any('nvidia' in needed for needed in requires('torch')))"; then \
        $install $LOCKED -r cuda.txt; \
      fi; \
    elif [ -e torch-index.txt ]; then \
      $install $LOCKED --extra-index-url "$TORCH_INDEX_URL" -r torch-index.txt; \
    else \
      echo "no hashes are known for $TORCH_INDEX_URL; make lock TORCH_INDEX_URL=$TORCH_INDEX_URL writes them" >&2; \
      $install --no-deps --index-url "$TORCH_INDEX_URL" -c constraints.txt torch torchvision; \
      $install -c constraints.txt torch torchvision; \
    fi; \
    /opt/pip/bin/pip --python /opt/venv/bin/python check

# The project itself, in a folder of its own: a change of it costs one small layer.
FROM builder-cli AS builder-project
COPY deploy/locks/build.txt /project/
RUN /opt/pip/bin/pip install $LOCKED --target /opt/hatchling -r /project/build.txt
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
