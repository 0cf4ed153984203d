"""One image on all nodes, by the registry's digest."""

from __future__ import annotations

import pytest

from cluster import image
from cluster.errors import PlanError

ONE, OTHER = ("nvcr.io/x@sha256:" + letter * 64 for letter in "ab")


def test_all_have_the_heads():
    assert image.agreed("nvcr.io/x:1", ["a", "b", "c"], [ONE, ONE, ONE]) == ONE


def test_a_node_with_another_is_named_with_both_digests():
    with pytest.raises(PlanError) as caught:
        image.agreed("nvcr.io/x:1", ["a", "b", "c"], [ONE, ONE, OTHER])
    text = str(caught.value)
    assert "a has sha256:aaaaaaaaaaaa, c has sha256:bbbbbbbbbbbb" in text
    assert "`docker pull nvcr.io/x:1`" in text
