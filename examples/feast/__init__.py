"""An example with a feature store; runs in .venv-feast (`make setup-feast`)."""
