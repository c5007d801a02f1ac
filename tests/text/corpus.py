"""Texts on known topics, in any number: short questions put together from parts, by a seed."""

import random
from collections.abc import Sequence

_BANK = (
    ("How do I", "Can I", "Please help me to", "I tried to", "Why can't I", "Is it possible to"),
    (
        "block my card", "raise my credit limit", "transfer money abroad",
        "close my savings account",
        "dispute a charge", "change my PIN", "download a statement", "repay my loan early",
        "open a joint account", "set up a standing order", "see the exchange rate",
        "cancel a direct debit", "verify my identity",
        "order a new debit card", "add a payee",
    ),
    (
        "in the app", "on the website", "from another country", "before the weekend",
        "without calling you",
        "after my card was stolen", "for my business", "at an ATM", "as a student", "today",
        "with my phone",
    ),
)  # fmt: skip
_COOKING = (
    ("How long should I", "What is the best way to", "Which pan do I need to", "Can my children",
    "Should I"),
    (
        "roast a chicken", "knead bread dough", "simmer tomato sauce", "whisk egg whites",
        "caramelise onions", "bake a cheesecake", "marinate the fish", "boil potatoes",
        "fry dumplings",
        "proof sourdough",
    ),
    ("in a gas oven", "with olive oil", "without butter", "for six guests", "with fresh herbs"),
)  # fmt: skip
_CHINESE = (
    ("请问", "我想", "怎么", "能不能", "为什么不能"),
    (
        "冻结我的卡",
        "提高信用额度",
        "向国外转账",
        "关闭储蓄账户",
        "修改密码",
        "下载账单",
        "提前还款",
    ),
    ("在应用里", "在网站上", "在国外", "在周末之前", "用手机"),
)


def _texts(parts: Sequence[Sequence[str]], number: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choice(part) for part in parts) + "?" for _ in range(number)]


def bank(number: int, seed: int) -> list[str]:
    """Return what customers of a bank ask."""
    return _texts(_BANK, number, seed)


def cooking(number: int, seed: int) -> list[str]:
    """Return what cooks ask."""
    return _texts(_COOKING, number, seed)


def chinese(number: int, seed: int) -> list[str]:
    """Return what customers of a bank ask in Chinese."""
    return _texts(_CHINESE, number, seed)


def mixed(number: int, seed: int, *, share: float, other: str = "cooking") -> list[str]:
    """Return what a bank is asked when `share` of it is something else."""
    strange = round(number * share)
    make = {"cooking": cooking, "chinese": chinese}[other]
    texts = bank(number - strange, seed) + make(strange, seed)
    random.Random(seed).shuffle(texts)
    return texts
