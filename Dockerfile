# Images of the hub and of a worker: `docker build --tag tool-bridge-hub .`, and with `--target worker`.
# docs/how-to/deploy.md explains how to run them.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim-trixie AS build
WORKDIR /src
# uv, and then all that the bridge needs, in the versions and with the hashes of the lock files.
COPY scripts/bootstrap.lock scripts/
RUN python -m venv /opt/uv \
    && /opt/uv/bin/python -m pip install --no-cache-dir --require-hashes --no-deps -r scripts/bootstrap.lock
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src src
RUN python -m venv --without-pip /opt/tool-bridge \
    && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/tool-bridge/bin/python \
       --build-constraint requirements.lock --constraint requirements.lock ".[data,http]"

FROM python:${PYTHON_VERSION}-slim-trixie AS runtime
# No shell, no home and a fixed id, so that a cluster can see that it is not root. A volume for the store of a hub gets
# the owner and the mode of the directory.
RUN groupadd --gid 10001 tool-bridge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tool-bridge \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/tool-bridge
COPY --from=build /opt/tool-bridge /opt/tool-bridge
ENV PATH=/opt/tool-bridge/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
# Sources of tools are looked up here first.
WORKDIR /tools

# A worker listens nowhere, so there is nothing to check: it reconnects by itself, and ends where it cannot go on.
FROM runtime AS worker
HEALTHCHECK NONE
ENTRYPOINT ["grpc-tool-bridge", "worker"]

FROM runtime AS hub
COPY --chmod=0444 deploy/docker/healthcheck.py /opt/tool-bridge/healthcheck.py
ENV TOOL_BRIDGE_ADDRESS=0.0.0.0:50051
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "/opt/tool-bridge/healthcheck.py", "127.0.0.1:8080"]
# It starts with a token and TLS, or with TOOL_BRIDGE_ALLOW_INSECURE=1.
ENTRYPOINT ["grpc-tool-bridge", "serve", "--http", "0.0.0.0:8080"]
