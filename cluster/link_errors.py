"""What the counters of an RDMA port say about its link. remote/node/hca_counters.py reads them."""

from __future__ import annotations

from collections.abc import Mapping

Counters = Mapping[str, int]

#: Counters of a link that loses bits: a healthy cable has none.
BAD_LINK = (
    "symbol_error",
    "link_error_recovery",
    "port_rcv_errors",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "rx_icrc_encapsulated",
)
#: Each counts the same losses in its own way (received out of order; NAKs, timeouts and retransmissions of
#: the sender), so they are not added up.
SENT_AGAIN = (
    "out_of_sequence",
    "packet_seq_err",
    "local_ack_timeout_err",
    "implied_nak_seq_err",
    "roce_adp_retrans",
    "roce_adp_retrans_to",
)
#: Notices of congestion: a switch marked packets, and senders were told to slow down.
CONGESTION = ("np_cnp_sent", "rp_cnp_handled")
#: Of all packets. A fabric without flow control sends a little again all the time; RoCE moves next to nothing
#: at 4e-3 (cluster/link_report.py has the source).
WORTH_A_WARNING = 1e-4
#: Under so many packets one that was sent again is no sign of anything.
PACKETS_AT_LEAST = 1 / WORTH_A_WARNING


def growth(now: Counters, before: Counters) -> dict[str, int]:
    """How much each counter grew; {} when one went back, as they do when the driver starts again."""
    grown = {name: value - before[name] for name, value in now.items() if name in before}
    return {} if any(value < 0 for value in grown.values()) else grown


def wrong(counters: Counters) -> list[str]:
    """The names of those counters that say that the link loses data; [] of a good one."""
    bad = [name for name in BAD_LINK if counters.get(name)]
    again = max(counters.get(name, 0) for name in SENT_AGAIN)
    if again > WORTH_A_WARNING * max(_packets(counters), PACKETS_AT_LEAST):
        bad += [name for name in SENT_AGAIN if counters.get(name)]
    return bad


def said(counters: Counters) -> str:
    """ "5.12 % of 2400 packets were out of sequence or sent again (out_of_sequence 123)"; or ""."""
    names = wrong(counters)
    if not names:
        return ""
    listed = ", ".join(f"{name} {counters[name]}" for name in names)
    again = max((counters[name] for name in names if name in SENT_AGAIN), default=0)
    packets = _packets(counters)
    if not again:
        return f"errors were counted ({listed})"
    notices = sum(counters.get(name, 0) for name in CONGESTION)
    congested = f", {notices} notices of congestion" if notices else ""
    if not packets:
        return f"packets were out of sequence or sent again ({listed}{congested})"
    share = f"{min(100.0, 100 * again / packets):.3g} % of {packets}"
    return f"{share} packets were out of sequence or sent again ({listed}{congested})"


def todo(netdev: str, counters: Counters) -> str:
    """What to do about it."""
    if any(counters.get(name) for name in CONGESTION):
        return (
            "The switch reports congestion: check its flow control (PFC or ECN), then the cable; look again "
            f"whether the counters grow (`ethtool -S {netdev}`)."
        )
    return (
        "Push the cable in until it clicks, or use another; look again whether they grow "
        f"(`ethtool -S {netdev}`)."
    )


def _packets(counters: Counters) -> int:
    return counters.get("port_rcv_packets", 0) + counters.get("port_xmit_packets", 0)
