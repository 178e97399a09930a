"""A package whose layers that take the speech in are new, to start a training with another way to hear.

``python tools/renew_speech.py --config configs/small.yaml configs/stage2_structure.yaml
configs/small_stage2.yaml train.init_from=PACKAGE train.output=START speech.encoder=...``

The words are those of stage2_dubber/train.py. Everything but those layers is PACKAGE's: the way from
references to pictures need not be learnt again. The new layers are drawn with ``train.seed`` and begin
without effect, so that trainings of different speech begin with the same pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.command import run_configured  # noqa: E402
from common.errors import UserError  # noqa: E402
from stage2_dubber.config import Stage2Config, check  # noqa: E402

_SPEECH_LAYERS = ("audio_embedding", "audio_attn", "audio_adain", "norm4")


def takes_speech(name: str) -> bool:
    """Whether a parameter of the transformer belongs to a layer that takes the speech in."""
    return not set(_SPEECH_LAYERS).isdisjoint(name.split("."))


def renew(config: Stage2Config, dry_run: bool) -> None:
    """Write the package to ``train.output``; one that lies there is replaced.

    Raises:
        UserError: no package in ``train.init_from``, one with adapters, or its other layers are of another
            size than the configuration's.
    """
    # Seconds of imports that a mistyped key need not wait for.
    import torch

    from common.models.package import load_package, save_package
    from common.models.transformer import build_transformer
    from common.speech.build import build_speech_encoder
    from common.training.record import short_name

    train = config.train
    if not train.init_from or not train.output:
        raise UserError(
            "Name the package to begin with in train.init_from, and what to write in train.output."
        )
    if dry_run:
        print(f"{train.output}: {train.init_from} with new layers for speech.encoder={config.speech.encoder}")
        return
    source = load_package(train.init_from, stage=2)
    if source.info.adapters:
        raise UserError(
            f"{train.init_from}: has adapters, which know its speech; name a package without any."
        )
    torch.manual_seed(train.seed)
    model = build_transformer(config.model)
    model.init_weights(silent_audio=True)
    weights = model.state_dict()
    kept = {name: value for name, value in source.transformer.state_dict().items() if not takes_speech(name)}
    wanted = {name: value.shape for name, value in weights.items() if not takes_speech(name)}
    if wanted != {name: value.shape for name, value in kept.items()}:
        raise UserError(
            f"{train.init_from}: its layers besides those for speech are not of the configuration's size; "
            "name the files of its own size in --config."
        )
    info = replace(
        source.info,
        speech=config.speech,
        speech_fingerprint=build_speech_encoder(config.speech).fingerprint,
        training={"new_speech_layers_in": short_name(train.init_from), "seed": train.seed},
    )
    save_package(train.output, info, model, source.codec, source.context, weights={**weights, **kept})
    print(f"{train.output}: {short_name(train.init_from)} with new layers for the speech")


def main(argv: Sequence[str] | None = None) -> int:
    return run_configured(
        Stage2Config,
        lambda config, dry_run: renew(check(config), dry_run),
        prog="tools/renew_speech.py",
        description=(__doc__ or "").splitlines()[0],
        argv=argv,
    )


if __name__ == "__main__":
    sys.exit(main())
