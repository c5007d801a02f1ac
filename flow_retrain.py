#!/usr/bin/env python3
"""`python -m modelrelease_training.flow run`; `serve`, which makes the deployment, where it is named first.

python flow_retrain.py --drawn 5000
"""  # noqa: E501

import sys

try:
    from modelrelease_training.flow.__main__ import main
except ModuleNotFoundError as problem:
    sys.exit(f"flow_retrain.py: {problem}: `make setup` and `. .venv/bin/activate` first")

COMMANDS = {"run", "serve"}

if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(given if COMMANDS & set(given[:1]) else ["run", *given]))
