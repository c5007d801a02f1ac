"""What the tests of text drift find in batches whose drift is known, encoded by a real model."""

from collections.abc import Callable

import numpy as np
import pytest

from modelrelease_contract.drift import DriftVerdict
from modelrelease_training.drift.baseline import TextBaseline
from modelrelease_training.drift.encoder import SentenceEncoder
from modelrelease_training.drift.errors import DriftError
from modelrelease_training.drift.text import (
    KEPT,
    SCRIPT,
    THRESHOLD,
    TextDrift,
    centroid_test,
    compare,
    reference,
    script,
)
from tests.text.corpus import bank, cooking, mixed

Judge = Callable[[list[str]], TextDrift]


@pytest.fixture(scope="session")
def judge(known: TextBaseline, encoder: SentenceEncoder) -> Judge:
    seen: dict[str, np.ndarray] = {}

    def judged(texts: list[str]) -> TextDrift:
        new = [text for text in dict.fromkeys(texts) if text not in seen]
        if new:
            seen.update(zip(new, encoder.encode(new), strict=True))
        return compare(known.reference, texts, np.stack([seen[text] for text in texts]))

    return judged


def test_the_encoder_is_the_one_that_its_card_describes(encoder: SentenceEncoder) -> None:
    first, second = encoder.encode(["That is a happy person", "That is a very happy person"])
    assert len(first) == 384
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert float(first @ second) > 0.9


def test_equal_texts_are_encoded_alike_and_in_order(encoder: SentenceEncoder) -> None:
    found = encoder.encode(["one", "two", "one"])
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_fifty_clean_batches_of_200_raise_nothing(judge: Judge) -> None:
    found = [judge(bank(200, seed=1000 + batch)) for batch in range(50)]
    assert [each.found_by for each in found] == [()] * 50
    assert not any(each.over_threshold for each in found)


@pytest.mark.parametrize("seed", range(10))
def test_a_quarter_of_another_topic_is_found_in_200_texts_where_the_fixed_threshold_is_blind(
    judge: Judge, seed: int
) -> None:
    found = judge(mixed(200, seed, share=0.25))
    assert "text:centroid" in found.found_by
    assert found.centroid.distance < THRESHOLD


def test_a_whole_batch_on_another_topic_is_over_the_fixed_threshold_too(judge: Judge) -> None:
    found = judge(cooking(200, seed=5))
    assert found.over_threshold
    assert found.calibrated


def test_one_text_in_twenty_in_another_script_is_found_by_its_script(judge: Judge) -> None:
    found = judge(mixed(200, 3, share=0.05, other="chinese"))
    assert SCRIPT in found.found_by
    assert not found.centroid.drifted


def test_a_small_batch_is_far_from_the_baseline_by_chance_alone_and_that_is_said(
    judge: Judge,
) -> None:
    small, large = judge(bank(10, seed=8)), judge(bank(400, seed=8))
    assert not small.calibrated
    assert small.centroid.expected > 10 * large.centroid.expected
    assert {each.verdict for each in small.features} == {DriftVerdict.INSUFFICIENT}


def test_a_single_text_is_no_error_and_no_drift(judge: Judge) -> None:
    assert not judge(["How do I change my PIN today?"]).calibrated


def test_the_same_texts_for_ever_are_no_division_by_zero(encoder: SentenceEncoder) -> None:
    vectors = encoder.encode(["the same"] * 200)
    found = compare(reference(["the same"] * 200, vectors), ["the same"] * 100, vectors[:100])
    assert found.centroid.distance == pytest.approx(0, abs=1e-6)
    assert not found.calibrated


def test_a_baseline_of_few_texts_is_refused(encoder: SentenceEncoder) -> None:
    texts = bank(99, seed=1)
    with pytest.raises(DriftError, match="at least 100 texts, got 99"):
        reference(texts, encoder.encode(texts))


def test_more_texts_than_are_compared_are_sampled() -> None:
    chance = np.random.default_rng(0)
    many = chance.normal(size=(3 * KEPT, 8)).astype(np.float32)
    assert not centroid_test(many, many, tail=0.01).drifted


def test_the_p_value_is_uniform_without_drift() -> None:
    chance = np.random.default_rng(4)
    values = []
    for _ in range(300):
        rows = (chance.normal(size=(150, 8)) + 1).astype(np.float32)
        values.append(
            centroid_test(
                rows[:100], rows[100:], tail=0.02, seed=int(chance.integers(10**6))
            ).p_value
        )
    assert np.mean(np.array(values) <= 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(values) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How do I block my card?", "LATIN"),
        ("请问怎么冻结我的卡", "CJK"),
        ("Как заблокировать карту?", "CYRILLIC"),
        ("12345 !?", "none"),
        ("", "none"),
        ("ᚠᚢᚦ", "other"),
        ("mostly latin 请", "LATIN"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, expected: str) -> None:
    assert script(text) == expected


def test_an_alpha_that_cannot_be_tested_is_refused(known: TextBaseline) -> None:
    with pytest.raises(ValueError, match="false alarm"):
        compare(known.reference, ["x"], known.reference.vectors[:1], alpha=1e-9)
