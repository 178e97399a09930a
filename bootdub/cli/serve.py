"""``bootdub serve``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bootdub.cli.errors import clean_errors
from bootdub.cli.options import (
    Device,
    DeviceOption,
    Dtype,
    LimitOption,
    ModelOption,
    PresetOption,
    RefineOption,
)
from bootdub.serve.settings import MOST_MEGABYTES, ServeSettings, require_keys

_KEYS = "Keys"


def serve(
    work: Annotated[Path, typer.Option(help="Folder of the jobs and their files.")] = Path("bootdub-service"),
    root: Annotated[
        Path | None, typer.Option(help="Folder in which requests may name files. Default: uploads alone.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's need keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that dub, each with a model of its own.")
    ] = 1,
    queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait; more are refused (429).")] = 100,
    keep_hours: Annotated[float, typer.Option(help="Ended jobs and their files are kept so long.")] = 24,
    megabytes: Annotated[float, typer.Option(help="Largest input.")] = MOST_MEGABYTES,
    minutes: Annotated[float, typer.Option(help="Longest that one job may take.")] = 240,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host that inputs may be fetched from and webhooks go to; '*': all public ones."),
    ] = None,
    public_url: Annotated[str, typer.Option(help="What clients reach the service by, for links.")] = "",
    model: ModelOption = None,
    device: DeviceOption = Device.auto,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights, as of dub.")] = Dtype.auto,
    preset: PresetOption = None,
    limit: LimitOption = None,
    refine: RefineOption = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a key, print it and stop.", rich_help_panel=_KEYS)
    ] = None,
    drop_key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take a key no longer, and stop.", rich_help_panel=_KEYS),
    ] = None,
) -> None:
    """Dub over HTTP, with a queue that outlives every process (docs/service.md)."""
    with clean_errors():
        from bootdub.serve import keys
        from bootdub.serve.store import JobStore

        if new_key is not None:
            print(keys.make_key(JobStore(work).database, new_key))
            return
        if drop_key is not None:
            keys.drop_key(JobStore(work).database, drop_key)
            return
        from common.extras import require_extra
        from common.media.isolation.limits import limits
        from common.models.package_info import read_info
        from stage2_dubber.dub.locate import default_model_path

        require_extra("serve")
        settings = ServeSettings(
            work=work.resolve(),
            model=(model or default_model_path()).resolve(),
            root=None if root is None else root.resolve(),
            hosts=tuple(allow_host or ()),
            host=host,
            workers=workers,
            queue=queue,
            keep_hours=keep_hours,
            megabytes=megabytes,
            minutes=minutes,
            limits=tuple(limit or ()),
            refine=None if refine is None else refine.resolve(),
            public_url=public_url,
            device=device.value,
            dtype=dtype.value,
            preset=preset or "auto",
        )
        read_info(settings.model)
        limits().with_words(settings.words)
        store = JobStore(settings.work)
        require_keys(host, keys.key_names(store.database))
        from bootdub.serve.run import run_service

        print(f"http://{host}:{port}: jobs in {settings.work}", file=sys.stderr)
        run_service(settings, store, port)
