"""Goals are ours, not the readers': they go from the page of measurements to that of checks."""

import re

from tests.benchmarks.table import markdown

HEADING = "## Goals of the measurements"
ABOUT = (
    "What the measurements [were to reach](benchmarks.md), section by section. "
    "Written by `python -m tests.benchmarks`."
)


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def _without_columns(block):
    """A table without its columns of goals, and a table of these or None."""
    header, _, *rows = [_cells(line) for line in block.splitlines()]
    goals = [k for k, name in enumerate(header) if name.startswith("goal")]
    if not goals:
        return block, None
    rows = [row + [""] * (len(header) - len(row)) for row in rows]
    kept = [k for k in range(len(header)) if k not in goals]

    def columns(chosen):
        return markdown(
            [header[k] for k in chosen],
            [[row[k] for k in chosen] for row in rows if any(row[k] for k in chosen[1:])],
        )

    return columns(kept), columns([0, *goals])


def _without_sentences(block):
    """A paragraph without its sentences about goals, and these."""
    if block.startswith(("Goals not reached", "All goals are")):
        return "", block
    sentences = re.split(r"(?<=[.:]) (?=[A-Z`])", block)
    about = [sentence for sentence in sentences if re.search(r"\bgoals?\b", sentence)]
    return " ".join(s for s in sentences if s not in about), " ".join(about)


def part(text):
    """The text of a section without goals, and what it says of them."""
    kept, goals = [], []
    for block in text.split("\n\n"):
        split = _without_columns if block.startswith("| ") else _without_sentences
        rest, of_goals = split(block)
        kept.append(rest)
        goals.append(of_goals)
    return tuple("\n\n".join(filter(None, blocks)) for blocks in (kept, goals))


def written(page):
    """{title: what is said of goals} of the page of checks."""
    parts = re.split(r"^### (.*)\n", page.partition(HEADING)[2], flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2])}


def with_goals(page, goals):
    """The page of checks with these goals in the place of those that it had."""
    sections = "".join(f"\n### {title}\n\n{text}\n" for title, text in goals.items() if text)
    return f"{page.partition(HEADING)[0].rstrip()}\n\n{HEADING}\n\n{ABOUT}\n{sections}"
