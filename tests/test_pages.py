"""Code on the pages of the documentation is executed: that it is written so that it can be.

pytest runs the examples of README.md and docs/ (option --doctest-glob), .ci/docs those of the
gallery.
"""

import re
import tomllib
from pathlib import Path

import pytest
from sklearn.utils import estimator_html_repr

import skrecurrent

ROOT = Path(__file__).parents[1]
GENERATED = {"_build", "auto_examples", "drawn", "generated"}
PAGES = [ROOT / "README.md"] + [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if not GENERATED & set(page.relative_to(ROOT / "docs").parts)
]
CODE = re.compile(r"^```(\S*).*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_a_page_is_executed(page):
    scripts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".ci").iterdir())
    # the README's commands are found by these words and run as they stand
    run_by_words = re.findall(r"command_of_readme '(.*?)'", scripts)
    for language, code in CODE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            assert code.startswith(">>> "), code
            assert code.endswith("\n\n"), f"an empty line must end the last output of\n{code}"
        elif language == "sh":
            for command in code.splitlines():
                assert command in scripts or any(words in command for words in run_by_words)
        else:
            assert re.fullmatch(r"\{[\w-]+\}", language), f"{language!r} is not executed"


def test_every_example_is_in_the_gallery_and_asks_its_question_first():
    examples = sorted((ROOT / "examples").glob("*.py"))
    assert examples
    for example in examples:
        assert example.name.startswith("plot_"), example.name
        lines = example.read_text(encoding="utf-8").splitlines()
        assert lines[0] == '"""'
        assert lines[2] == "=" * len(lines[1]), example.name


def pages_of_the_reference(module):
    """Where Sphinx writes the pages of the names of a module, by docs/api.md."""
    section = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    section = section.split(f"## `{module}`\n")[1].split("\n## ")[0]
    (directory,) = re.findall(r":toctree: (\S+)", section)
    names = re.findall(r"^   (\w+)$", section, re.MULTILINE)
    return {name: f"{directory}/{module}.{name}.html" for name in names}


def test_estimators_link_to_their_pages_of_the_reference():
    with open(ROOT / "pyproject.toml", "rb") as file:
        urls = tomllib.load(file)["project"]["urls"]
    pages = pages_of_the_reference("skrecurrent")
    assert len(pages) == 3
    for name, page in pages.items():
        link = urls["Documentation"] + page
        assert f'href="{link}"' in estimator_html_repr(getattr(skrecurrent, name)())
    assert urls["Changelog"] == urls["Documentation"] + "changelog.html"
    assert (ROOT / "docs" / "changelog.md").exists()
