"""The command of a training that is a strategy and nothing else: options, a plan, the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from common.command import run_configured
from common.data.config import DataConfig
from common.training.config import OptimisationConfig


class TrainingRoot(Protocol):
    """A root configuration with the sections that every training reads."""

    train: OptimisationConfig
    data: DataConfig


R = TypeVar("R", bound=TrainingRoot)


def training_command(
    schema: type[R],
    strategy: Callable[[], Callable[..., Any]],
    *,
    module: str,
    result: str,
    about: str,
    argv: Sequence[str] | None,
) -> int:
    """Run a training of the command line; the exit code.

    Args:
        schema: of the configuration.
        strategy: imports and returns the strategy's class, once the options are known to be right: that takes
            seconds.
        module: what ``python -m`` runs.
        result: what ``package/`` in ``train.output`` will be, for the messages.
        about: description of the command.
    """

    def body(config: R, dry_run: bool) -> None:
        from common.training.launch import run_training, training_plan

        name = module.removeprefix("common.")
        if dry_run:
            print(training_plan(name, result, config.train, config.data))
        else:
            run_training(name, result, strategy(), config)

    return run_configured(schema, body, prog=f"python -m {module}", description=about, argv=argv)
