# Somebody's model server, as its makers publish it: BentoML with a service of one endpoint, and nothing of ours.
# Built by `python -m cluster images bentoml`, or: docker build -f examples/servers/bentoml.Dockerfile -t bentoml-qna:dev .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS dependencies
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/bentoml
WORKDIR /build
COPY locks/bentoml.txt locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /opt/build/bin/pip --python /opt/bentoml/bin/python install --no-cache-dir --no-compile --require-hashes -r locks/bentoml.txt
COPY tools/slim tools/
RUN tools/slim /opt/bentoml
# Bytecode of what a start imports.
RUN BENTOML_HOME=/tmp/bentoml /opt/bentoml/bin/python -c "import bentoml, _bentoml_impl.server, joblib, sklearn.pipeline, sklearn.compose, sklearn.ensemble"

FROM ${BASE}
ENV PATH=/opt/bentoml/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True
COPY --from=dependencies /opt/bentoml /opt/bentoml
COPY examples/servers/bentoml_service.py /srv/service.py
USER 65532:65532
WORKDIR /srv
CMD ["bentoml", "serve", "service:Qna", "--host", "0.0.0.0", "--port", "3000"]
