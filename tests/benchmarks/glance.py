"""The summary of the measurements: tables and a chart, made from docs/benchmarks.md.

``python -m tests.benchmarks.glance`` writes docs/_glance.md, docs/_glance_plants.md,
docs/_glance_streams.md and docs/_static/glance.png.
"""

import re

import matplotlib.pyplot as plt
import numpy as np

from tests.benchmarks.__main__ import PAGE, written
from tests.benchmarks.plants import FIVE, PUBLISHED
from tests.benchmarks.table import markdown

ACCURACY, OURS = "Accuracy of `fit` at defaults", "`RTRLRegressor()`"

PLANTS = "Real plants: beside other packages"
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
PLANT_GROUPS = {
    OURS: [OURS],
    FIVE: [FIVE],
    "linear": ["FIR, 20 lags", "ARX"],
    "SysIdentPy": ["SysIdentPy"],
    "MLP": ["MLP, 20 lags"],
    "boosting": ["boosting, 20 lags"],
    "reservoirpy": ["reservoirpy 100"],
    "GRU": ["torch GRU 32"],
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


# Names of records for those who do not know the files.
RECORDS = {
    "actuator": "hydraulic actuator",
    "ced_prbs1": "coupled drives",
    "dryer": "hair dryer",
    "emps": "EMPS",
    "silverbox: multisine": "Silverbox, multisine",
    "silverbox: arrow_full": "Silverbox, arrow",
    "silverbox: arrow_no_extrap": "Silverbox, arrow without extrapolation",
    "tanks": "Cascaded Tanks",
    "twotank": "two tanks",
    "wh": "Wiener-Hammerstein",
}
IN_WORDS = {"inf": "diverges", "nan": ""}


def first_table(text):
    """{row: {column: cell}} of the first table of a section."""
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)[0].splitlines()
    ]
    return {row[0]: dict(zip(header, row)) for row in rows}


def number(cell):
    """The first of a cell's numbers; a simulation that diverges has none."""
    first = cell.split()[0].strip("*,")
    return np.inf if first == "diverges" else float(first)


def summary(section, groups):
    """{task: {group: error}}, medians of five seeds."""
    return {
        task: {group: min(number(of[m]) for m in methods) for group, methods in groups.items()}
        for task, of in first_table(written()[section]).items()
        if not task.startswith("us ")
    }


def with_published(errors):
    """The errors on the records of plants, and the least of those that others have published."""
    found = {}
    for record, of in errors.items():
        label, unit = record.split(", ")
        unit = unit.replace("orig", "as recorded")
        published = PUBLISHED.get(label, {"": np.nan}).values()
        found[f"{RECORDS.get(label, label)}, {unit}"] = of | {"best published": min(published)}
    return found


def table(what, errors, digits=2):
    rows = []
    for task, of in errors.items():
        cells = {group: f"{error:.{digits}g}" for group, error in of.items()}
        cells = {group: IN_WORDS.get(text, text) for group, text in cells.items()}
        best = np.nanmin(list(of.values()))
        rows.append([task, *(f"**{cells[g]}**" if of[g] == best else cells[g] for g in of)])
    return markdown([what, *of], rows)


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
    tables = {
        "_glance.md": table("task", errors),
        "_glance_plants.md": table("record", with_published(summary(PLANTS, PLANT_GROUPS)), 3),
        "_glance_streams.md": table("task", summary(STREAMS, STREAM_GROUPS)),
    }
    for name, text in tables.items():
        PAGE.with_name(name).write_text(text + "\n")
    draw(errors, PAGE.parent / "_static" / "glance.png")
