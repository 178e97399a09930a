"""Measuring dubs: metrics, systems, the benchmark, the report, the listening test.

Stands on both stages; nothing stands on it.
"""
