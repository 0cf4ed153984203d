"""What an RDMA port's counters mean."""

from __future__ import annotations

import pytest

from cluster import link_errors


@pytest.mark.parametrize(
    ("counters", "said"),
    [
        ({}, ""),
        ({"port_rcv_packets": 10**6, "out_of_sequence": 100}, ""),  # a little is sent again all the time
        ({"port_rcv_packets": 100, "packet_seq_err": 1}, ""),
        ({"np_cnp_sent": 10**6}, ""),  # congestion control at work, and nothing lost
        (
            {
                "port_rcv_packets": 1000,
                "port_xmit_packets": 1000,
                "out_of_sequence": 100,
                "packet_seq_err": 90,
            },
            "5 % of 2000 packets were out of sequence or sent again (out_of_sequence 100, packet_seq_err 90)",
        ),
        (
            {"local_ack_timeout_err": 7},  # nothing gets through at all
            "packets were out of sequence or sent again (local_ack_timeout_err 7)",
        ),
        ({"symbol_error": 1}, "errors were counted (symbol_error 1)"),
        (
            {"port_rcv_packets": 10, "out_of_sequence": 50, "rp_cnp_handled": 4},  # all behind a lost one
            "100 % of 10 packets were out of sequence or sent again (out_of_sequence 50, "
            "4 notices of congestion)",
        ),
    ],
)
def test_what_is_said(counters, said):
    assert link_errors.said(counters) == said


def test_growth_is_of_what_both_looks_have_and_none_after_a_reset():
    before = {"out_of_sequence": 5, "symbol_error": 1}
    assert link_errors.growth({"out_of_sequence": 9, "symbol_error": 1, "new": 7}, before) == {
        "out_of_sequence": 4,
        "symbol_error": 0,
    }
    assert link_errors.growth({"out_of_sequence": 0, "symbol_error": 1}, before) == {}
