"""The store and the workers of a service: what survives kills, how often jobs are done, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tools" / "bench"))

import serve_load
from serve_steps import ASKED, counted, steps

from bootdub.serve.record import JobState, StopReason, StoredJob
from bootdub.serve.settings import ServeSettings, require_keys
from bootdub.serve.store import JobStore, QueueFull
from bootdub.serve.supervisor import Supervisor
from bootdub.serve.worker import do_jobs
from common.errors import UserError

MANY = 1000


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(work=tmp_path / "work", model=tmp_path / "model", workers=1)


@pytest.fixture
def store(settings: ServeSettings) -> JobStore:
    return JobStore(settings.work)


@pytest.fixture
def supervisor(settings: ServeSettings, store: JobStore) -> Iterator[Supervisor]:
    made = Supervisor(settings, store, steps)
    made.start()
    yield made
    made.stop()


def add(store: JobStore, number: int = 1, seconds: float = 0.0, **more: Any) -> StoredJob:
    asked = {**ASKED, "steps": number, "seconds": seconds, **more}
    return store.add(asked, id=store.new_folder(), most=MANY)


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def state(store: JobStore, job: StoredJob) -> JobState:
    return store.get(job.id).state


def test_jobs_are_claimed_in_their_order_and_by_one_worker_each(store: JobStore) -> None:
    first, second = add(store), add(store)
    with store.claim() as one, store.claim() as other, store.claim() as none:
        assert one is not None and one.id == first.id and one.state is JobState.processing
        assert other is not None and other.id == second.id
        assert none is None


def test_a_job_whose_worker_has_gone_is_claimed_again(store: JobStore) -> None:
    add(store)
    with store.claim() as job:
        assert job is not None and job.attempts == 1
    with store.claim() as again:
        assert again is not None and again.id == job.id and again.attempts == 2


def test_a_job_that_is_put_back_has_cost_no_attempt(store: JobStore) -> None:
    add(store)
    for _ in range(5):
        with store.claim() as job:
            assert job is not None and job.attempts == 1
            store.put_back(job.id)


def test_no_more_jobs_wait_than_may(store: JobStore) -> None:
    add(store)
    with pytest.raises(QueueFull):
        store.add(ASKED, id=store.new_folder(), most=1)
    assert store.counts()[JobState.pending] == 1


def test_owners_see_their_own_jobs_alone(store: JobStore) -> None:
    mine = store.add(ASKED, "anna", id=store.new_folder(), most=MANY)
    store.add(ASKED, "ben", id=store.new_folder(), most=MANY)
    assert [job.id for job in store.jobs("anna")] == [mine.id]
    assert len(store.jobs()) == 2
    with pytest.raises(KeyError):
        store.get(mine.id, "ben")


def test_old_jobs_go_with_their_files_and_totals_stay(store: JobStore) -> None:
    ended, waiting = add(store), add(store)
    store.stop(ended.id, StopReason.canceled)
    forgotten = store.new_folder()
    assert store.clear(time.time() - 60) == 0
    assert store.clear(time.time() + 60) == 2
    assert [job.id for job in store.jobs()] == [waiting.id]
    assert not store.job_folder(ended.id).exists() and not store.job_folder(forgotten).exists()
    assert store.totals()[JobState.canceled][0] == 1


def test_a_store_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="cannot be used"):
        JobStore(tmp_path)


def test_faults_of_inputs_and_of_the_program_end_a_job_differently(store: JobStore) -> None:
    wrong, broken = add(store), add(store)

    def task(job: StoredJob, progress: object) -> dict[str, Any]:
        if job.id == wrong.id:
            raise UserError("The video is none.")
        if job.id == broken.id:
            add(store)
            raise ValueError("secret")
        raise SystemExit

    with pytest.raises(SystemExit):
        do_jobs(store, task)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = store.get(wrong.id)
    assert (ended.state, ended.error, ended.code) == (
        JobState.rejected,
        "The video is none.",
        "invalid_input",
    )
    ended = store.get(broken.id)
    assert (ended.state, ended.code) == (JobState.failed, "internal_error") and "secret" not in str(
        ended.error
    )
    assert store.counts()[JobState.pending] == 1  # put back by the worker that was stopped


def test_killed_workers_lose_nothing_and_do_nothing_twice(
    settings: ServeSettings, store: JobStore, supervisor: Supervisor
) -> None:
    long, short = add(store, 6, 0.1), add(store)
    until(lambda: len(counted(store.job_folder(long.id) / "steps")) >= 2)
    os.kill(supervisor.pids[0], signal.SIGKILL)
    until(lambda: state(store, short) is JobState.completed)
    assert store.get(long.id).result == {"steps": [str(step) for step in range(6)]}
    assert counted(settings.work / "begun") == [long.id, long.id, short.id]
    assert counted(settings.work / "done") == [long.id, short.id]


def test_a_job_that_kills_its_workers_is_given_up(store: JobStore, supervisor: Supervisor) -> None:
    deadly, other = add(store, die=True), add(store)
    until(lambda: state(store, other) is JobState.completed)
    ended = store.get(deadly.id)
    assert (ended.state, ended.code) == (JobState.failed, "worker_died")


def test_a_running_job_is_canceled_and_its_worker_does_the_next(
    store: JobStore, supervisor: Supervisor
) -> None:
    endless = add(store, MANY, 0.05)
    until(lambda: store.get(endless.id).stage is not None)
    store.stop(endless.id, StopReason.canceled)
    other = add(store)
    until(lambda: state(store, other) is JobState.completed)
    assert state(store, endless) is JobState.canceled


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    hasty = ServeSettings(work=tmp_path, model=tmp_path, minutes=0.5 / 60)
    store = JobStore(tmp_path)
    supervisor = Supervisor(hasty, store, steps)
    endless = add(store, MANY, 0.05)
    supervisor.start()
    try:
        until(lambda: state(store, endless).ended)
    finally:
        supervisor.stop()
    assert store.get(endless.id).code == "timed_out"


_SERVICE = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.supervisor import Supervisor
from serve_steps import steps
if __name__ == "__main__":
    work = Path(sys.argv[1])
    Supervisor(ServeSettings(work=work, model=work), JobStore(work), steps).start()
    time.sleep(600)
"""


def test_a_service_that_is_killed_takes_its_workers_along_and_the_next_one_goes_on(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "work")
    long = add(store, 8, 0.1)
    script = tmp_path / "service.py"
    script.write_text(_SERVICE)
    words = [
        sys.executable,
        str(script),
        str(store.folder),
        str(REPOSITORY),
        str(REPOSITORY / "tools" / "bench"),
    ]
    for killed in (True, False):
        service = subprocess.Popen(words)
        try:
            if killed:
                until(lambda: len(counted(store.job_folder(long.id) / "steps")) >= 2)
                service.kill()
                service.wait()
                until(lambda: not Path(f"/proc/{store.get(long.id).pid}").exists())
            else:
                until(lambda: state(store, long).ended)
        finally:
            service.kill()
            service.wait()
    assert store.get(long.id).result == {"steps": [str(step) for step in range(8)]}
    assert counted(store.folder / "done") == [long.id]


def test_the_load_test_finds_nothing_lost_and_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--work",
        str(tmp_path),
        "--jobs",
        "4",
        "--seconds",
        "0.2",
        "--workers",
        "2",
        "--kill-every",
        "0.3",
    ]
    assert serve_load.main(words) == 0
    assert "4 jobs: 4 completed, 4 done once" in capsys.readouterr().out


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "dubs.example"])
def test_other_machines_need_keys(host: str) -> None:
    require_keys(host, ["anna"])
    for local in ("127.0.0.1", "::1", "localhost"):
        require_keys(local, [])
    with pytest.raises(UserError, match="--new-key"):
        require_keys(host, [])


def test_settings_that_make_no_sense_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--keep-hours is 0"):
        ServeSettings(work=tmp_path, model=tmp_path, keep_hours=0)
    with pytest.raises(UserError, match="is no folder"):
        ServeSettings(work=tmp_path, model=tmp_path, root=tmp_path / "gone")
