"""Make of a trained package or autoencoder what goes to users: half-precision weights, sampler defaults.

``python tools/ship_model.py TRAINED --output models/NAME [--num-steps 4] [--audio-scale 1.0] ...``
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.autoencoder.codec import load_vae  # noqa: E402
from common.command import exit_code_of  # noqa: E402
from common.errors import UserError  # noqa: E402
from common.files import atomic_dir  # noqa: E402
from common.lip_shapes.encoder import LipEncoder  # noqa: E402
from common.models.package import load_package, save_package  # noqa: E402
from common.models.package_info import METADATA_FILE, PackageInfo  # noqa: E402
from common.own_mouths.config import Renderer  # noqa: E402

SAMPLER = {"num_steps": int, "passes": int, "reference_scale": float, "audio_scale": float, "border": int}


def ship(
    source: Path,
    output: Path,
    sampler: dict[str, Any],
    predictor: Path | None = None,
    renderer: Renderer | None = None,
) -> int:
    """Write ``source`` to ``output`` in float16, whole or not at all; the bytes of all files there.

    ``predictor`` takes the place of the package's own: the transformer knows shapes, not who expects them.
    ``renderer``: what draws new mouths unless a job says otherwise; None: as the package says.

    Raises:
        UserError: there is no package or autoencoder, an autoencoder is given sampler values, or a package
            that does not use lip shapes is given a lip-shape predictor.
    """
    if (source / METADATA_FILE).is_file():
        package = load_package(source)
        info = replace(package.info, diffusion=replace(package.info.diffusion, **sampler))
        if predictor is not None:
            info = _with_predictor(info, predictor)
        if renderer is not None:
            info = replace(info, renderer=renderer)
        save_package(output, info, package.transformer, package.codec, package.context, dtype=torch.float16)
    elif sampler or predictor is not None or renderer is not None:
        options = [*sorted(sampler), "renderer" if predictor is None else "lip_shape_predictor"]
        given = options[0].replace("_", "-")
        raise UserError(f"{source}: holds no model package: leave --{given} out.")
    else:
        with atomic_dir(output) as folder:
            load_vae(source).half().save_pretrained(folder)
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def _with_predictor(info: PackageInfo, predictor: Path) -> PackageInfo:
    if info.speech.encoder != LipEncoder.name:
        raise UserError(
            f"The model takes features of {info.speech.encoder}, not lip shapes: leave --lip-shape-predictor "
            "out."
        )
    speech = replace(info.speech, path=str(predictor))
    return replace(info, speech=speech, speech_fingerprint=LipEncoder(predictor).fingerprint)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, metavar="TRAINED", help="a model package, or an autoencoder")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; replaced if it is there")
    for name, kind in SAMPLER.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="instead of the package's own")
    parser.add_argument("--lip-shape-predictor", type=Path, help="instead of the package's own")
    parser.add_argument(
        "--renderer", type=Renderer, choices=list(Renderer), metavar="NAME", help="own-mouths, editor or auto"
    )
    arguments = parser.parse_args(argv)
    sampler = {name: getattr(arguments, name) for name in SAMPLER if getattr(arguments, name) is not None}

    def work() -> None:
        predictor, renderer = arguments.lip_shape_predictor, arguments.renderer
        size = ship(arguments.source, arguments.output, sampler, predictor, renderer)
        print(f"{arguments.output}: {size / 1e6:.1f} MB")

    return exit_code_of(work)


if __name__ == "__main__":
    sys.exit(main())
