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
