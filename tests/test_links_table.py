"""docs/links.md says which link was run on what, and says no more than the tests do."""

from tests.links_table import ORDER, PAGE, marks, written


def test_the_table_is_what_the_tests_say() -> None:
    page = PAGE.read_text()
    assert page == written(page), "run .venv/bin/python tests/links_table.py"


def test_every_link_of_the_page_was_run() -> None:
    run = {name for name, *_ in marks()}
    assert run <= set(ORDER) and run
