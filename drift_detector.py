#!/usr/bin/env python3
"""`modelrelease-drift check`; `baseline` and `serve` where they are named first.

python drift_detector.py --baseline baseline_emb.pkl --input_texts data/new_batch.txt
"""

import sys

try:
    from modelrelease_training.drift.__main__ import main
except ModuleNotFoundError as problem:
    sys.exit(f"drift_detector.py: {problem}: `make setup` and `. .venv/bin/activate` first")

COMMANDS = {"baseline", "check", "serve"}

if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(given if COMMANDS & set(given[:1]) else ["check", *given]))
