"""The summary of the measurements: tables and a chart, made from docs/benchmarks.md.

``python -m tests.benchmarks.glance`` writes docs/_glance.md, docs/_glance_streams.md and
docs/_static/glance.png.
"""

import re

import matplotlib.pyplot as plt

from tests.benchmarks.__main__ import PAGE, written
from tests.benchmarks.table import markdown

ACCURACY, OURS = "Accuracy of `fit` at defaults", "`RTRLRegressor()`"

STREAMS = "Streams: one pass, each row predicted before it is learned"

# Column of a summary: columns of the page, the best of which counts.
GROUPS = {
    OURS: [OURS],
    "reservoirs": [
        "reservoirpy 100",
        "reservoirpy 500",
        "reservoirpy NVAR",
        "PyRCN 100",
        "echoes 100",
    ],
    "torch": ["torch RNN 32", "torch GRU 32"],
    "ridge": ["ridge"],
    "MLP": ["MLP"],
    "boosting": ["boosting"],
}
STREAM_GROUPS = {
    OURS: ["at defaults, raw units"],
    "RLS": ["RLS, 20 lags"],
    "reservoirs": ["reservoirpy 100 + RLS", "reservoirpy NVAR + RLS"],
    "river": [
        "river Bayesian linear, 20 lags",
        "river linear, 20 lags",
        "river Hoeffding adaptive tree, 20 lags",
    ],
    "MLP": ["MLP, 20 lags"],
    "torch": ["torch RNN 32, online"],
}


def first_table(text):
    """{row: {column: cell}} of the first table of a section."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)[0].splitlines()
    ]
    return {row[0]: dict(zip(header, row)) for row in rows}


def number(cell):
    return float(cell.split()[0])


def summary(section, groups):
    """{task: {group: error}}, medians of five seeds."""
    return {
        task: {group: min(number(of[m]) for m in methods) for group, methods in groups.items()}
        for task, of in first_table(written()[section]).items()
        if not task.startswith("us ")
    }


def table(errors):
    rows = []
    for task, of in errors.items():
        cells = {group: f"{error:.2g}" for group, error in of.items()}
        best = min(of.values())
        rows.append([task, *(f"**{cells[g]}**" if of[g] == best else cells[g] for g in of)])
    return markdown(["task", *of], rows)


def draw(errors, path):
    fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for k, (group, marker) in enumerate(zip(GROUPS, "osd^v<")):
        values = [of[group] for of in errors.values()]
        size = 9 if group == OURS else 6
        ax.plot(values, range(len(errors)), f"C{k}{marker}", ms=size, label=group.strip("`"))
    ax.set(xscale="log", xlabel="NRMSE: the mean has 1", yticks=range(len(errors)))
    ax.set_yticklabels(errors)
    ax.invert_yaxis()
    ax.grid(alpha=0.3)
    fig.legend(fontsize="small", loc="outside right")
    fig.savefig(path, dpi=90)


if __name__ == "__main__":
    errors = summary(ACCURACY, GROUPS)
    PAGE.with_name("_glance.md").write_text(table(errors) + "\n")
    streams = summary(STREAMS, STREAM_GROUPS)
    PAGE.with_name("_glance_streams.md").write_text(table(streams) + "\n")
    draw(errors, PAGE.parent / "_static" / "glance.png")
