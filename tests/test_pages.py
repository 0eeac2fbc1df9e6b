"""Code on the pages of the documentation is executed: that it is written so that it can be.

pytest runs the examples of README.md and docs/ (option --doctest-glob), .ci/docs those of the
gallery.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.utils import estimator_html_repr

import skrecurrent
from tests.common import make_rows, needs_compiled_code

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
    order = re.findall(r'"(plot_\w+\.py)"', (ROOT / "docs" / "gallery.py").read_text("utf-8"))
    assert sorted(order) == [example.name for example in examples]
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


# The map in docs/contributing.md

CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")

PACKAGE = Path(skrecurrent.__file__).parent

# Modules of the package by floor, the lowest first; directories stand for all that is in them.
FLOORS = [
    {"_kernels"},
    {"_learners"},
    {"_input"},
    {"_fitted"},
    {"_epochs", "_forecast"},
    {"_least_squares"},
    {"_base", "_forecast", "_rtrl", "_aprl", "_fast_weight"},
    {"inspection", "datasets", "__init__"},
]
BESIDE = {"_threads", "_reservoir", "_machine", "_compat", "_numbers", "_version", "exceptions"}


def imported_by(path):
    """Names of the package's modules, and packages, that a module imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "skrecurrent":
            _, *names = node.module.split(".")
            yield from names[:1] or [alias.name for alias in node.names]


def test_modules_import_from_no_higher_floor():
    height = {name: k for k, floor in enumerate(FLOORS) for name in floor} | dict.fromkeys(
        BESIDE, 0
    )
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        for imported in imported_by(path):
            assert imported in BESIDE or height[imported] <= height[name], (path, imported)


@needs_compiled_code
def test_one_row_goes_the_way_that_the_map_shows():
    table = CONTRIBUTING.split("### One row")[1].split("### A fit")[0]
    rows = re.findall(r"^\| \d \| `([\w./]+)` \| (.*?) \|", table, re.MULTILINE)
    shown = [(file, name) for file, names in rows for name in re.findall(r"`(\w+)`", names)]
    shown.remove(("_threads.py", "one_at_a_time"))  # which made the function that is called
    (X, y), seen = make_rows(9), []
    model = skrecurrent.RTRLRegressor(3, random_state=0).partial_fit(X[:7], y[:7])
    model.partial_fit(X[7:8], y[7:8])  # whose values are looked at by a kernel that is new here

    def watch(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            seen.append((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    sys.setprofile(watch)
    try:
        model.partial_fit(X[8:], y[8:])  # one row, the last
    finally:
        sys.setprofile(None)
    seen = [call for call in seen if call[0] != "_kernels/_bundle.py"]  # checks, in tests only
    if sys.version_info >= (3, 12):  # where calls of compiled functions are not told
        shown = [call for call in shown if not call[0].startswith("_kernels/")]
    assert sorted(set(seen)) == sorted(shown)


def test_what_the_map_names_is_there():
    named = re.findall(r"`([^`\n]+)`", CONTRIBUTING.split("## The map")[1].split("## Building")[0])
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    words = set(re.findall(r"\w+", " ".join(path.read_text(encoding="utf-8") for path in sources)))
    for code in named:
        if re.fullmatch(r"[\w./]+\.(py|toml)", code):
            folders = (ROOT, PACKAGE, PACKAGE / "_kernels", PACKAGE / "_learners")
            assert any((folder / code).exists() for folder in folders), code
        elif match := re.fullmatch(r"([\w.]+)(\(.*\))?", code):
            assert set(re.findall(r"\w+", match[1])) <= words, code
