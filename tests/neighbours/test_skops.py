"""skops stores estimators without pickle; docs/persistence.md lists the types to be trusted."""

import re
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.common import assert_same, assert_unchanged, make_rows, observable
from tests.neighbours import EVERY, every_estimator, new

PAGE = Path(__file__).parents[2] / "docs" / "persistence.md"
LISTED = re.findall(r'"(skrecurrent\.[\w.]+)"', PAGE.read_text(encoding="utf-8"))

X, y = make_rows(150, missing=0.1)

# Ids of the two sequences of a stream, and the type that they add to the list.
IDS = {
    "text": (["a", "b"], None),
    "array of text": (np.array(["a", "b"]), None),
    "numbers": (np.array([3, 5]), None),
    "datetime64": (np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[s]"), None),
    "Timestamp": ([pd.Timestamp("2026-01-01"), pd.Timestamp(1767312000123456789)], None),
    "Timestamp with a time zone": (
        [pd.Timestamp("2026-01-01", tz="UTC"), pd.Timestamp("2026-01-02", tz="Europe/Berlin")],
        None,
    ),
    "bytes": ([b"a", b"b"], None),
    "array of bytes": (np.array([b"a", b"b"]), "numpy.bytes_"),
    "UUID": ([uuid.UUID(int=1), uuid.UUID(int=2)], "uuid.UUID"),
}


@every_estimator
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_skops_in_mid_stream_changes_no_bit_and_needs_the_listed_types_only(name, how):
    import skops.io

    original = getattr(new(name), how)(X[:101], y[:101])
    stored = skops.io.dumps(original)
    assert set(skops.io.get_untrusted_types(data=stored)) <= set(LISTED)
    twin = skops.io.loads(stored, trusted=LISTED)
    assert_unchanged(observable(original), twin)
    assert_same(twin.partial_fit(X[101:], y[101:]), original.partial_fit(X[101:], y[101:]))


def test_the_list_has_no_type_too_many():
    import skops.io

    needed = set()
    for name in EVERY:
        for learned in (new(name).fit(X, y), new(name).partial_fit(X, y)):
            needed.update(skops.io.get_untrusted_types(data=skops.io.dumps(learned)))
    assert needed == set(LISTED)
    assert len(LISTED) == len(needed)


@pytest.mark.parametrize("kind", IDS)
def test_the_last_id_of_a_stream_is_stored(kind):
    import skops.io

    (first, second), added = IDS[kind]
    ids = np.array([first] * 70 + [second] * 80, dtype=getattr(IDS[kind][0], "dtype", object))
    original = new("sgd").partial_fit(X[:101], y[:101], sequence_id=ids[:101])
    stored = skops.io.dumps(original)
    trusted = LISTED if added is None else [*LISTED, added]
    assert set(skops.io.get_untrusted_types(data=stored)) - set(LISTED) == ({added} - {None})
    twin = skops.io.loads(stored, trusted=trusted)
    rest = {"X": X[101:], "y": y[101:], "sequence_id": ids[101:]}
    assert_same(twin.partial_fit(**rest), original.partial_fit(**rest))
    assert_same(twin, new("sgd").partial_fit(X, y, sequence_id=ids))  # nothing started anew


def test_the_page_names_the_types_that_ids_add():
    page = PAGE.read_text(encoding="utf-8")
    for _, added in IDS.values():
        assert added is None or f'"{added}"' in page


def test_skops_refuses_what_is_not_listed():
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    stored = skops.io.dumps(new("dekf").fit(X, y))
    with pytest.raises(UntrustedTypesFoundException, match="RTRLRegressor"):
        skops.io.loads(stored, trusted=[])
