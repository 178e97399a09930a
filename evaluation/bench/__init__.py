"""The benchmark's footage: a rendered part from seeds, and the choice of clips from a user's own folder."""

from evaluation.bench.items import GROUPS, SIZES, VERSION, BenchItem, bench_items
from evaluation.bench.make import BenchRow, render_bench
from evaluation.bench.sidecar import scene_of

__all__ = ["GROUPS", "SIZES", "VERSION", "BenchItem", "BenchRow", "bench_items", "render_bench", "scene_of"]
