"""Draws the site's two diagrams as SVG, in the colours of the page's light or dark theme."""

from html import escape

CELL, LEFT, HEIGHT, WIDTH = 25, 24, 76, 480  # of the sequence diagram, in its own units


def write(directory):
    """Write all diagrams into a directory, for the pages to include."""
    directory.mkdir(exist_ok=True)
    for draw in (sequences, choose):
        path = directory / f"{draw.__name__}.svg"
        text = draw()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _svg(title, width, height, parts):
    return "\n".join(
        [
            f'<svg class="diagram" role="img" viewBox="0 0 {width} {height}" '
            f'style="max-width: {width * 1.4:.0f}px" xmlns="http://www.w3.org/2000/svg">',
            f"<title>{escape(title)}</title>",
            *parts,
            "</svg>\n",
        ]
    )


def _text(x, y, text, kind="note", anchor="start"):
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


# The sequence diagram: one line per call, time runs to the right, a cell is a row of X.


def _x(row):
    return LEFT + row * CELL


def _cells(line, first, last, kind):
    y = line * HEIGHT + 22
    return [
        f'<rect x="{_x(row) + 2}" y="{y}" width="{CELL - 4}" height="18" rx="3" class="{kind}"/>'
        for row in range(first, last)
    ]


def _state(line, row, kind):
    return f'<circle cx="{_x(row)}" cy="{line * HEIGHT + 31}" r="6.5" class="{kind}"/>'


def _call(line, code, note):
    y = line * HEIGHT
    return [_text(LEFT - 8, y + 13, code, "code"), _text(LEFT - 8, y + 57, note)]


def sequences():
    parts = []
    # code, note, [(first row, last row, kind)], state that it starts from, states (row, kind)
    calls = [
        (
            "fit(X[:7], y[:7])",
            "passes from rest; state_ is where the last one ends",
            [(0, 7, "learned")],
            [(0, "rest"), (7, "state")],
        ),
        (
            "predict(X[7:10])",
            "goes on from state_ on a copy: nothing changes",
            [(7, 10, "run")],
            [(7, "state"), (10, "copy")],
        ),
        (
            "partial_fit(X[7:10], y[7:10])",
            "learns each row once and moves state_",
            [(7, 10, "learned")],
            [(10, "state")],
        ),
        (
            "advance(X[10:12])",
            "no targets: moves state_ and learns nothing",
            [(10, 12, "advanced")],
            [(12, "state")],
        ),
        (
            "forecast(4, X[12:13])",
            "on a copy; each prediction becomes the next row",
            [(12, 13, "run"), (13, 16, "loop")],
            [(12, "state"), (16, "copy")],
        ),
        (
            "partial_fit(X[12:], y[12:], sequence_id=b)",
            "another id: a new sequence, which starts from rest",
            [(12, 16, "learned")],
            [(12, "rest"), (16, "state")],
        ),
        (
            "predict(X, sequence_id=a + b)",
            "with ids every sequence starts from rest, on a copy",
            [(0, 12, "run"), (12, 16, "run")],
            [(0, "rest"), (12, "rest"), (16, "copy")],
        ),
        (
            "reset_state()",
            "state_ is rest: what comes next is a new sequence",
            [],
            [(16, "rest")],
        ),
    ]
    for line, (code, note, rows, states) in enumerate(calls):
        parts += _call(line, code, note)
        y = line * HEIGHT + 31
        parts.append(f'<line x1="{_x(0)}" x2="{_x(16)}" y1="{y}" y2="{y}" class="axis"/>')
        for first, last, kind in rows:
            parts += _cells(line, first, last, kind)
        parts += [_state(line, row, kind) for row, kind in states]
    bottom = len(calls) * HEIGHT
    legend = [
        [("learned", "learned"), ("advanced", "passed through"), ("run", "predicted")],
        [("loop", "fed back"), ("rest", "rest"), ("state", "state_"), ("copy", "a copy, dropped")],
    ]
    for y, entries in zip((bottom + 15, bottom + 37), legend):
        x = LEFT
        for kind, label in entries:
            if kind in ("rest", "state", "copy"):
                parts.append(f'<circle cx="{x + 9}" cy="{y}" r="6.5" class="{kind}"/>')
            else:
                rect = f'<rect x="{x}" y="{y - 7}" width="18" height="14" rx="3" class="{kind}"/>'
                parts.append(rect)
            parts.append(_text(x + 24, y + 4, label))
            x += 36 + 9 * len(label)
    return _svg("What each call does to the state", WIDTH, bottom + 52, parts)


# The flow of "Which estimator?": questions downwards, answers to the right.

QUESTIONS = [
    (["Do the rows have", "an order in time?"], "no", ["Another regressor", "of scikit-learn"]),
    (
        ["Is the series short", "(under some 300 rows)", "and noisy?"],
        "yes",
        ["First try ridge", "regression on lags"],
    ),
    (
        ["Must something new", "be found in each", "sequence?"],
        "yes",
        ["FastWeightRegressor(", 'form="programmer")'],
    ),
    (
        ["Is time short, or", "are there 100 units", "or more?"],
        "yes",
        ["RTRLRegressor(", "train_hidden=False)"],
    ),
]
OTHERWISE = ["RTRLRegressor()"]
# Narrow, so that the text is large enough on a phone.
ASK, ANSWER, GAP, BOX = 196, 196, 44, 68


def _box(x, y, width, lines, kind):
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="8" class="{kind}"/>']
    first = y + BOX / 2 + 5 - 9.5 * (len(lines) - 1)
    style = "code" if "(" in "".join(lines) and kind == "answer" else "label"
    for k, line in enumerate(lines):
        parts.append(_text(x + width / 2, first + 19 * k, line, style, "middle"))
    return parts


def _arrow(x1, y1, x2, y2):
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="arrow" marker-end="url(#head)"/>'


def choose():
    parts = [
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L10,5 L0,10 z" class="head"/></marker></defs>'
    ]
    step, middle, right = BOX + 38, 4 + ASK / 2, 4 + ASK + GAP
    for k, (question, answer, leads_to) in enumerate(QUESTIONS):
        y = 4 + k * step
        parts += _box(4, y, ASK, question, "question")
        parts += _box(right, y, ANSWER, leads_to, "answer")
        parts.append(_arrow(6 + ASK, y + BOX / 2, right - 3, y + BOX / 2))
        parts.append(_text(right - GAP / 2 - 2, y + BOX / 2 - 8, answer, "note", "middle"))
        parts.append(_arrow(middle, y + BOX + 2, middle, y + step - 3))
        parts.append(_text(middle + 8, y + BOX + 23, "yes" if answer == "no" else "no"))
    parts += _box(4, 4 + len(QUESTIONS) * step, ASK, OTHERWISE, "answer")
    height = 8 + len(QUESTIONS) * step + BOX
    return _svg("Which estimator?", right + ANSWER + 4, height, parts)
