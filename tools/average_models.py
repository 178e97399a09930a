"""The mean of several trained packages of one model, such as the ends of two runs that follow each other.

``python tools/average_models.py TRAINED TRAINED ... --output FOLDER``

Weights of runs that share a beginning may be averaged, and the mean is often better than each (Wortsman et
al. 2022, "Model soups"). All but the weights is the first one's.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.command import exit_code_of  # noqa: E402
from common.errors import UserError  # noqa: E402
from common.models.package import ModelPackage, load_package, save_package  # noqa: E402
from common.training.record import short_name  # noqa: E402


def average(sources: list[Path], output: Path) -> None:
    """Write the mean of ``sources`` to ``output``, whole or not at all.

    Raises:
        UserError: fewer than two packages, or they are not of one model.
    """
    if len(sources) < 2:
        raise UserError("One package has no mean with others: name two or more.")
    first = load_package(sources[0])
    _refuse_adapters(first)
    mean = {name: value.double() for name, value in first.transformer.state_dict().items()}
    for source in sources[1:]:
        other = load_package(source)
        _refuse_adapters(other)
        if _kind(other) != _kind(first):
            raise UserError(
                f"{source}: is not of one model with '{sources[0]}' (stage, geometry, encoders, "
                "transformer); average runs of one configuration."
            )
        for name, value in other.transformer.state_dict().items():
            mean[name] += value.double()
    weights = {name: (value / len(sources)).to(torch.float32) for name, value in mean.items()}
    record = {**first.info.training, "mean_of": [short_name(source) for source in sources]}
    info = replace(first.info, training=record)
    save_package(output, info, first.transformer, first.codec, first.context, weights=weights)


def _refuse_adapters(package: ModelPackage) -> None:
    if package.info.adapters:
        raise UserError(
            f"{package.folder}: has adapters, whose mean is not the mean of what they do; average packages "
            "without any."
        )


def _kind(package: ModelPackage) -> tuple[object, ...]:
    info = package.info
    transformer = {name: value for name, value in package.transformer.config.items() if name[0] != "_"}
    return (info.stage, info.geometry, info.speech_fingerprint, package.codec.fingerprint, transformer)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", type=Path, nargs="+", metavar="TRAINED", help="model packages")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; replaced if it is there")
    arguments = parser.parse_args(argv)

    def work() -> None:
        average(arguments.sources, arguments.output)
        print(f"{arguments.output}: the mean of {len(arguments.sources)} packages")

    return exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main())
