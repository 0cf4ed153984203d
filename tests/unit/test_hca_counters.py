"""Counters of RDMA devices, as sysfs has them."""

from __future__ import annotations

from remote.node import hca_counters


def test_units_of_four_bytes(tmp_path):
    folder = tmp_path / "rocep1s0f0/ports/1/counters"
    folder.mkdir(parents=True)
    (folder / "port_xmit_data").write_text("250\n")
    (folder / "port_rcv_data").write_text("3\n")
    (tmp_path / "mlx5_broken").mkdir()
    assert hca_counters.look({"root": str(tmp_path)}) == {"rocep1s0f0": [1000, 12]}


def test_no_rdma_at_all(tmp_path):
    assert hca_counters.look({"root": str(tmp_path / "none")}) == {}


def test_errors_of_a_port_and_of_roce_as_far_as_the_kernel_shows_them(tmp_path):
    port = tmp_path / "rocep1s0f0/ports/1"
    for folder, name, text in (
        ("counters", "symbol_error", "2\n"),
        ("counters", "port_rcv_packets", "N/A (no PMA)\n"),
        ("hw_counters", "out_of_sequence", "41\n"),
        ("hw_counters", "np_cnp_sent", "3\n"),
        ("hw_counters", "lifespan", "10\n"),
    ):
        (port / folder).mkdir(parents=True, exist_ok=True)
        (port / folder / name).write_text(text)
    (tmp_path / "mlx5_broken").mkdir()
    assert hca_counters.errors({"root": str(tmp_path)}) == {
        "rocep1s0f0": {"symbol_error": 2, "out_of_sequence": 41, "np_cnp_sent": 3},
        "mlx5_broken": {},
    }
