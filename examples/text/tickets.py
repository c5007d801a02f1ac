"""What people write to a bank, drawn. Standard library alone."""

import random

ASKED = {
    "card": (
        "my {} was {} at the shop", ("card", "credit card", "debit card"),
        ("refused", "blocked", "swallowed by the machine", "stolen"),
    ),
    "transfer": (
        "the {} to my landlord {}", ("transfer", "payment", "standing order"),
        ("has not arrived", "was sent twice", "was sent to the wrong account", "is late"),
    ),
    "loan": (
        "what is the {} if I {}", ("interest", "monthly rate", "fee"),
        ("borrow for a house", "pay the loan back early", "need money for a car", "am a student"),
    ),
}  # fmt: skip
POLITE = ("", "hello, ", "please help: ", "good morning, ")
ENDED = ("", " and I need an answer today", ", thank you", " since Monday", ", what can I do")


def draw(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Return texts, and what each is about."""
    drawn = random.Random(seed)
    topics = drawn.choices(list(ASKED), k=count)
    texts = []
    for topic in topics:
        sentence, things, happened = ASKED[topic]
        said = sentence.format(drawn.choice(things), drawn.choice(happened))
        texts.append(f"{drawn.choice(POLITE)}{said}{drawn.choice(ENDED)}")
    return texts, topics
