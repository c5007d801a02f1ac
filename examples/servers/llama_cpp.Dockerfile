# Somebody's model server: llama.cpp's own, as the package xllamacpp compiles and starts it, and nothing of ours.
# Built by `python -m cluster images llama-cpp`, or: docker build -f examples/servers/llama_cpp.Dockerfile -t llama-cpp:dev .
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS dependencies
RUN python3 -m venv /opt/build
WORKDIR /build
COPY locks/llama-cpp.txt locks/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary=:all: --target packages -r locks/llama-cpp.txt
# It takes the system's OpenMP, which the base has not; scikit-learn brings one, and is not kept.
RUN mkdir /opt/llama-cpp && mv packages/xllamacpp /opt/llama-cpp/ \
 && cp packages/scikit_learn.libs/libgomp-*.so* /opt/llama-cpp/libgomp.so.1

FROM ${BASE}
ENV PYTHONPATH=/opt/llama-cpp \
    LD_LIBRARY_PATH=/opt/llama-cpp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=dependencies /opt/llama-cpp /opt/llama-cpp
COPY examples/servers/llama_cpp_server.py /srv/server.py
USER 65532:65532
WORKDIR /tmp
RUN ["python3", "-c", "import xllamacpp"]
ENTRYPOINT ["python3", "/srv/server.py"]
