"""The page from its start to its end."""

from __future__ import annotations

import signal
import threading

from bootdub.serve.dubbing import dub_jobs
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.supervisor import Supervisor
from bootdub.serve.worker import write_log
from bootdub.ui.actions import PageActions
from bootdub.ui.page import THEME, build_page


def run_page(settings: ServeSettings, port: int, browser: bool) -> None:
    """Show the page on this machine until a signal to end; the job in hand goes back to the queue then."""
    write_log()
    store = JobStore(settings.work)
    supervisor = Supervisor(settings, store, dub_jobs)
    supervisor.start()
    page = build_page(PageActions(settings, store))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    try:
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            inbrowser=browser,
            theme=THEME,
            share=False,
            prevent_thread_lock=True,
            allowed_paths=[str(settings.work / "jobs")],
            max_file_size=settings.most_bytes,
            ssr_mode=False,
            footer_links=[],
        )
        ended.wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()
        supervisor.stop()
