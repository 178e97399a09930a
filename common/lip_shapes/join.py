"""`python -m common.lip_shapes.join`: one lip-shape predictor that gives the mean of several.

Predictors that learnt from other seeds, with other phonetic encoders or from other data err in unlike ways,
and their mean often errs less than any of them. It also moves less, and is calibrated on `join.shards`, those
of `common.lip_shapes.label`; `join.output` is what `speech.path` names then.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.command import run_configured
from common.errors import UserError
from common.files import atomic_dir
from common.lip_shapes.config import LipJoinConfig


def main(argv: list[str] | None = None) -> int:
    return run_configured(
        LipJoinConfig, run, prog="python -m common.lip_shapes.join", description=__doc__ or "", argv=argv
    )


def run(config: LipJoinConfig, dry_run: bool) -> None:
    """Raises UserError where a member is missing or takes other features, or no lips were filmed."""
    # A second each to import.
    from common.data.dataset import ShardDataset
    from common.lip_shapes.calibration import calibrate, require_filmed, save_predictor
    from common.lip_shapes.model import LipShapePredictorMean
    from common.lip_shapes.network import load_lip_shape_predictor
    from common.models.plain_network import read_network_config

    wanted = config.join
    if not wanted.members or not wanted.output or not wanted.shards:
        raise UserError(
            "Name predictors in join.members, filmed lips in join.shards and a folder in join.output."
        )
    folders = [Path(name) for name in wanted.members]
    members = [load_lip_shape_predictor(folder) for folder in folders]
    configs = [read_network_config(folder, "lip-shape predictor") for folder in folders]
    settings = [{name: value for name, value in one.items() if name[0] != "_"} for one in configs]
    for folder, one in zip(folders, settings, strict=True):
        if "members" in one:
            raise UserError(f"{folder} is a mean of predictors itself: name its members in join.members.")
    if len({member.bands for member in members}) != 1:
        raise UserError(f"{folders[0]} takes other features than the others: join predictors of one kind.")
    dataset = ShardDataset(list(wanted.shards))
    require_filmed(dataset, "join.shards")
    print(f"join: {len(members)} predictors, calibrated on {len(dataset)} samples -> {wanted.output}")
    if dry_run:
        return
    mean = LipShapePredictorMean(settings).eval()
    for network, member in zip(mean.networks, members, strict=True):
        network.load_state_dict(member.state_dict())
    calibrate(mean, dataset, wanted.spread)
    with atomic_dir(Path(wanted.output)) as temporary:
        save_predictor(mean, temporary)


if __name__ == "__main__":
    sys.exit(main())
