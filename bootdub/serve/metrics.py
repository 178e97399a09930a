"""The state of a service in Prometheus' text format, read from the store whenever it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from bootdub.serve.record import JobState
from bootdub.serve.service import Service


def metrics_text(service: Service) -> bytes:
    """All figures."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(service))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        store, settings = self._service.store, self._service.settings
        jobs = GaugeMetricFamily("bootdub_jobs", "Jobs in the store.", labels=["state"])
        for state, count in store.counts().items():
            jobs.add_metric([state.value.lower()], count)
        yield jobs
        ended = SummaryMetricFamily(
            "bootdub_job_seconds", "Ended jobs and the time of their last attempts.", labels=["state"]
        )
        for state, (count, seconds) in store.totals().items():
            ended.add_metric([state.value.lower()], count_value=count, sum_value=seconds)
        yield ended
        waiting = [job.created for job in store.jobs(states=[JobState.pending])]
        oldest = time.time() - min(waiting) if waiting else 0.0
        yield GaugeMetricFamily("bootdub_queue_oldest_seconds", "How long the oldest job waits.", oldest)
        yield GaugeMetricFamily("bootdub_queue_limit", "Jobs that may wait.", settings.queue)
        alive = 0 if self._service.supervisor is None else len(self._service.supervisor.pids)
        yield GaugeMetricFamily("bootdub_workers", "Processes that dub.", alive)
