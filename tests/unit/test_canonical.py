import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatu.core import canonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_reads_back_from_its_text(value):
    assert json.loads(canonical.text(value)) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_makes_no_difference(value):
    assert canonical.data(value) == canonical.data(dict(reversed(value.items())))


def test_the_text_is_ascii_without_spaces():
    assert canonical.text({"b": ["é", 1], "a": None}) == r'{"a":null,"b":["\u00e9",1]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_number_for_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical.text([value])
