"""What every command of stage 1 shares: options, checks, one writer per work folder, errors for users."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.command import alone_in_work_folder, run_configured
from stage1_generator.config import Stage1Config, check

Body = Callable[[Stage1Config], None]


def run_command(
    name: str,
    about: str,
    run: Body,
    dry_run: Body,
    argv: Sequence[str] | None = None,
    lock: bool = True,
    show_timesteps: Callable[[Stage1Config], str] | None = None,
) -> int:
    """Parse the command line, run one step, and turn a UserError into one line and exit code 2.

    Args:
        run: does the work; called while this process is the only one that writes to the work folder.
        dry_run: prints what `run` would do, and writes nothing.
        lock: False for commands that only read.
        show_timesteps: of the training alone.
    """

    def body(config: Stage1Config, dry: bool) -> None:
        check(config)
        if lock:
            alone_in_work_folder(run, dry_run)(config, dry)
        else:
            (dry_run if dry else run)(config)

    return run_configured(
        Stage1Config,
        body,
        prog=f"python -m stage1_generator.{name}",
        description=about,
        argv=argv,
        show_timesteps=show_timesteps,
    )
