"""A list of jobs on a cluster: a thread per worker; they share the list as processes do on one machine."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from bootdub.cluster.dubbers import ClusterDubbers
from stage2_dubber.dub.lists.batch import Batch, Outcome
from stage2_dubber.dub.lists.job_list import Job


def run_on_cluster(
    batch: Batch, dubbers: ClusterDubbers, tell: Callable[[Job, Outcome], None]
) -> list[Outcome]:
    """Do all jobs of a list that nobody has done or is doing.

    Args:
        batch: the list, its paths absolute.
        dubbers: the workers.
        tell: called after each job, by several threads.

    Returns:
        The outcomes of the jobs that were done here.
    """
    with ThreadPoolExecutor(dubbers.count) as pool:
        shares = [pool.submit(batch.run, dubbers.dub, tell) for _ in range(dubbers.count)]
        try:
            wait(shares, return_when=FIRST_EXCEPTION)
        except BaseException:
            dubbers.stop()
            raise
    return [outcome for share in shares for outcome in share.result()]
