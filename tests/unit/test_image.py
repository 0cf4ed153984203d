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


LOOKED = """\
==========
== NVIDIA ==
trtspark mpirun /usr/local/mpi/bin/mpirun
trtspark trtllm-serve /usr/local/bin/trtllm-serve
trtspark trtllm-llmapi-launch /usr/local/bin/trtllm-llmapi-launch
trtspark python3 /usr/bin/python3
trtspark ssh 
trtspark mpirun-version mpirun (Open MPI) 4.1.7rc1
trtspark python3-version 3.12.3
"""  # noqa: W291
GOOD = image.parse(LOOKED)


def lacking(*changes: tuple[str, str], several: bool = True) -> list[str]:
    text = LOOKED
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return image.lacking(image.parse(text), several)


def test_a_usual_image_is_read_past_its_banner():
    assert (GOOD.openmpi, GOOD.python, GOOD.ssh) == ("4.1.7", "3.12.3", "")
    assert image.lacking(GOOD, several=True) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (" /usr/local/bin/trtllm-serve", " ", ["trtllm-serve"]),
        (" /usr/local/bin/trtllm-llmapi-launch", " ", ["trtllm-llmapi-launch"]),
        (" 3.12.3", " 3.9.18", ["Python 3.10 or later (it has 3.9.18)"]),
        (" /usr/bin/python3", " ", ["Python 3.10 or later (it has none)"]),
        (" 4.1.7rc1", " 5.0.8", []),
        (" 4.1.7rc1", " 4.0.3", ["mpirun of Open MPI 4.1 or 5 (it has 4.0.3)"]),
        (" 4.1.7rc1", " 6.0.0", ["mpirun of Open MPI 4.1 or 5 (it has 6.0.0)"]),
        (" /usr/local/mpi/bin/mpirun", " ", ["mpirun of Open MPI 4.1 or 5 (it has none)"]),
        (
            "mpirun (Open MPI) 4.1.7rc1",
            "HYDRA build details:",
            ["mpirun of Open MPI 4.1 or 5 (it has HYDRA build details:)"],
        ),
    ],
)
def test_what_an_image_lacks(before, after, expected):
    assert lacking((before, after)) == expected


def test_one_rank_needs_no_mpi():
    assert lacking((" /usr/local/mpi/bin/mpirun", " "), several=False) == []
    assert lacking((" /usr/local/bin/trtllm-serve", " "), several=False) == ["trtllm-serve"]


def test_an_image_that_lacks_something_is_refused_in_one_line():
    empty = image.parse("bash: nothing here\n")
    said = r"debian:12 on a lacks trtllm-serve, Python .* Set image to"
    with pytest.raises(PlanError, match=said) as caught:
        image.usable("debian:12", ["a"], [empty], several=True)
    assert "\n" not in str(caught.value)


def test_nodes_with_two_images_of_one_name_are_told_apart():
    other = image.parse(LOOKED.replace("4.1.7rc1", "5.0.8"))
    with pytest.raises(PlanError, match=r"a has Open MPI 4.1.7 in it, b 5.0.8"):
        image.usable("mine:1", ["a", "b"], [GOOD, other], several=True)
    assert image.usable("mine:1", ["a", "b"], [GOOD, other], several=False) == GOOD


def test_an_image_that_no_registry_gave_is_used_by_name():
    assert image.agreed("mine:1", ["a", "b"], ["", ""]) == "mine:1"


def test_the_digest_counts_and_not_the_name_it_is_listed_under():
    assert (
        image.agreed("r:5000/x:1", ["a", "b"], ["r:5000/x@sha256:1", "r:5001/x@sha256:1"])
        == "r:5000/x@sha256:1"
    )
