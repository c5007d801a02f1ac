# Somebody's model server, as its makers publish it: MLServer with its scikit-learn runtime, and nothing of ours.
# Built by `python -m cluster images mlserver`, or: docker build -f examples/servers/mlserver.Dockerfile -t mlserver-sklearn:dev .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS dependencies
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/mlserver
WORKDIR /build
COPY locks/mlserver.txt locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /opt/build/bin/pip --python /opt/mlserver/bin/python install --no-cache-dir --no-compile --require-hashes -r locks/mlserver.txt
COPY tools/slim tools/
RUN tools/slim /opt/mlserver
# Bytecode of what a start imports.
RUN /opt/mlserver/bin/python -c "import mlserver.cli.main, mlserver_sklearn, sklearn.pipeline, sklearn.compose, sklearn.ensemble"

FROM ${BASE}
ENV PATH=/opt/mlserver/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MLSERVER_MODELS_DIR=/mnt/models \
    MLSERVER_PARALLEL_WORKERS=0
COPY --from=dependencies /opt/mlserver /opt/mlserver
USER 65532:65532
WORKDIR /tmp
CMD ["sh", "-c", "exec mlserver start \"$MLSERVER_MODELS_DIR\""]
