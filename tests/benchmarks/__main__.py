"""Measure everything, or the named sections, and write docs/benchmarks.md.

What the sections say of goals goes to docs/checks.md.
"""

import argparse
import os
import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks import (
    ablation,
    accuracy,
    aprl_kernel,
    calibration,
    chunks,
    closed_loop,
    cold_start,
    fast_weight_kernel,
    fast_weights,
    goals,
    liquid,
    one_row,
    plants,
    programmer,
    programmer_kernel,
    rtrl_kernel,
    scaling,
    streaming,
    trouble,
)

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
CHECKS = PAGE.with_name("checks.md")

INTRODUCTION = """\
# Benchmarks

Written by `python -m tests.benchmarks`, all of it or the named sections only ({names}); do not \
edit by hand. All programs run in one thread. The machines are shared, so compare ratios, not \
times.
"""

SECTIONS = {
    "accuracy": ("Accuracy of `fit` at defaults", accuracy.report),
    "plants": ("Real plants: published records, in simulation", plants.report),
    "plants_beside": ("Real plants: beside other packages", plants.report_beside),
    "closed_loop": ("Closed loop: forecasts from forecasts", closed_loop.report),
    "streaming": ("Streams: one pass, each row predicted before it is learned", streaming.report),
    "ablation": ("Streams: the learner without its parts", ablation.report),
    "trouble": ("Streams in trouble, beside a clean stream", trouble.report),
    "calibration": ("Intervals: how many of the values are in them", calibration.report),
    "kernel": ("The exact gradient: blocks of steps against plain RTRL", rtrl_kernel.report),
    "aprl": ("Atiya-Parlos learning: accuracy", accuracy.aprl_report),
    "aprl_kernel": ("Atiya-Parlos learning: the kernel", aprl_kernel.report),
    "liquid": ("Atiya-Parlos learning, an echo state network and a liquid", liquid.report),
    "fast_weights": ("Fast weights: what they are good for", fast_weights.report),
    "fast_weight_kernel": ("Fast weights: the kernel", fast_weight_kernel.report),
    "programmer": ("Fast weight programmer: what it is good for", programmer.report),
    "few_sequences": (
        "Fast weight programmer: how many sequences it needs",
        programmer.few_sequences_report,
    ),
    "programmer_kernel": ("Fast weight programmer: the kernel", programmer_kernel.report),
    "one_row": ("One row at a time", one_row.report),
    "chunks": ("Chunks and epochs: what Python adds", chunks.report),
    "cold_start": ("Cold start", cold_start.report),
    "scaling": ("Time and memory beside the theory", scaling.report),
}

# Sections that read a folder of records.
OF_PLANTS = {"plants", "plants_beside"}

PACKAGES = (
    "numpy scipy numba scikit-learn jax torch reservoirpy pyrcn echoes river sysidentpy brian2"
)


def circumstances():
    """When, where and with what a section was measured."""
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES.split():
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    load = os.getloadavg()[0]  # before: what others do
    return (
        f"Measured on {date.today()} on {processor()}; the load average was {load:.1f} when it "
        f"began. {', '.join(versions)}."
    )


def processor():
    """The processor and its caches, as far as Linux tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        return platform.machine()
    return f"{len(names)} cores of {names[0]}"


def written():
    """{title: text} of the sections of the page as it is."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text() if PAGE.exists() else "", flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2])}


def write(texts):
    of_goals = goals.written(CHECKS.read_text())
    for title in texts:
        texts[title], said = goals.part(texts[title])
        of_goals[title] = said or of_goals.get(title, "")
    in_order = {title: of_goals.get(title, "") for title, _ in SECTIONS.values()}
    CHECKS.write_text(goals.with_goals(CHECKS.read_text(), in_order))
    sections = [
        f"\n## {title}\n\n{texts[title]}\n" for title, _ in SECTIONS.values() if title in texts
    ]
    names = ", ".join(f"`{name}`" for name in SECTIONS)
    PAGE.write_text(INTRODUCTION.format(names=names) + "".join(sections))


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--plants", metavar="FOLDER", help="records for the section plants")
    given = parser.parse_args()
    names = given.sections or [name for name in SECTIONS if name not in OF_PLANTS or given.plants]
    if OF_PLANTS & set(names) and not given.plants:
        parser.error("sections about plants need --plants FOLDER")
    if unknown := set(names) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    for name in names:
        title, report = SECTIONS[name]
        begun = circumstances()
        text = f"{begun}\n\n{report(given.plants) if name in OF_PLANTS else report()}"
        write(written() | {title: text})  # at once, for the next one may take long


if __name__ == "__main__":
    main()
