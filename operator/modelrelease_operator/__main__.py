"""`python -m modelrelease_operator`: runs the operator when no command is given."""

import sys

from modelrelease_operator.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["run"]))
