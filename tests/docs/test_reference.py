"""The reference says what the code does: its pages are made from the code, and are not stale."""

import pytest

from henslowe.actors import vocabulary
from tools.reference import FOLDER, PAGES, documented


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_now(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "say make reference"


@pytest.mark.parametrize("class_name", ["Stream", "EventType"])
def test_every_word_of_the_log_is_explained(class_name: str) -> None:
    explained = {name: text for _, name, text in documented(vocabulary, class_name)}
    assert set(explained) == set(getattr(vocabulary, class_name).__members__)
    assert [name for name, text in explained.items() if not text] == []


def test_an_attribute_without_a_docstring_is_found_out() -> None:
    assert {name: text for _, name, text in documented(vocabulary, "Status")}["PENDING"] == ""
