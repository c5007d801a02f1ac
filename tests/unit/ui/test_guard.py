"""Who may ask the page for what: by its own names, and commands from itself alone."""

import pytest

from modelrelease_operator.ui.guard import from_this_page, host_of, prefix_of

OURS = {
    "host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765", "x-modelrelease": "page",
    "sec-fetch-site": "same-origin",
}  # fmt: skip


def test_a_command_of_the_page_itself_is_taken():
    assert from_this_page(OURS)


@pytest.mark.parametrize(
    "changes",
    [
        {"x-modelrelease": None},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ],
)
def test_a_command_of_any_other_page_is_not(changes: dict[str, str | None]):
    headers = {key: text for key, text in {**OURS, **changes}.items() if text is not None}
    assert not from_this_page(headers)


def test_behind_a_proxy_the_name_that_was_asked_for_counts():
    behind = {**OURS, "host": "ui.internal", "x-forwarded-host": "models.example.com"}
    assert from_this_page({**behind, "origin": "https://models.example.com"})
    assert not from_this_page({**behind, "origin": "https://evil.example"})


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8765", "localhost"), ("LOCALHOST", "localhost"), ("[::1]:80", "::1"),
        ("evil.example:8765", "evil.example"), ("", ""), ("[", ""), ("a@localhost", "localhost"),
    ],
)  # fmt: skip
def test_a_host_is_read_without_its_port(header: str, name: str):
    assert host_of(header) == name


@pytest.mark.parametrize("told", ['/a"><script>', "//evil.example", "https://evil", "/a?x", "a"])
def test_a_prefix_that_is_no_path_is_not_taken(told: str):
    assert prefix_of({"x-forwarded-prefix": told}, "/own") == "/own"


def test_a_prefix_that_a_proxy_tells_is_taken():
    assert prefix_of({"x-forwarded-prefix": "/tools/releases/"}, "") == "/tools/releases"
