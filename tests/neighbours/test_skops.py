"""skops stores estimators without pickle; docs/persistence.md lists the types to be trusted."""

import re
from pathlib import Path

import pytest

from tests.common import assert_same, assert_unchanged, make_rows, observable
from tests.neighbours import EVERY, every_estimator, new

PAGE = Path(__file__).parents[2] / "docs" / "persistence.md"
LISTED = re.findall(r'"(skrecurrent\.[\w.]+)"', PAGE.read_text(encoding="utf-8"))

X, y = make_rows(150, missing=0.1)


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


def test_skops_refuses_what_is_not_listed():
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    stored = skops.io.dumps(new("dekf").fit(X, y))
    with pytest.raises(UntrustedTypesFoundException, match="RTRLRegressor"):
        skops.io.loads(stored, trusted=[])
