"""Results as one self-contained HTML page: drawings are SVG made here, there is no script and no network."""

from trtspark.bench.report.page import MARK, render

__all__ = ["MARK", "render"]
