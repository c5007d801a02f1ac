"""Somebody's llama.cpp server: its HTTP server in one process, as the package xllamacpp starts it.

`python server.py FILE` serves a model in GGUF at port 8080, by one thread.
"""

import signal
import sys

import xllamacpp


def serve(path: str) -> xllamacpp.Server:
    """Return the server once it answers."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames, params.port = ["0.0.0.0"], 8080  # noqa: S104 - a pod's
    params.endpoint_metrics = True
    params.n_ctx, params.n_parallel, params.n_predict = 2048, 4, 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def main() -> None:
    """Serve until the process is told to end."""
    server = serve(sys.argv[1])
    print(f"listening at {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
