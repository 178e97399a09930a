"""Does a device compute what the CPU computes? One window of a toy editor, in float32 on both.

``python tools/bench/device_parity.py --device cuda``: a forward pass, the sampler with guidance, motion and
border, the autoencoder both ways, and the sampler with blocks that wait in main memory (``offload``), with
random weights. The largest differences are printed as JSON. Exit code 0: all within the tolerances of
tools/parity.py, 1: not, 2: bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent.parent
if str(ROOT) not in sys.path:  # also runs from a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from common.autoencoder.codec import VideoCodec, build_vae  # noqa: E402
from common.config import load_config  # noqa: E402
from common.diffusion.sampler import build_sampler  # noqa: E402
from common.errors import EXIT_CODE, UserError  # noqa: E402
from common.models.conditions import ModelConditions  # noqa: E402
from common.models.speed import SpeedConfig  # noqa: E402
from common.models.switches import place_transformer  # noqa: E402
from common.models.transformer import build_transformer  # noqa: E402
from stage2_dubber.config import Stage2Config  # noqa: E402
from stage2_dubber.dub.device import choose_device  # noqa: E402

FORWARD, SAMPLED = 1e-4, 1e-3
TOLERANCES = {"forward": FORWARD, "latents": FORWARD, "decoded": FORWARD, "sample": SAMPLED}
STEPS, SIDE, FRAMES = 4, 64, 13


def computed(device: torch.device, offload: bool = False) -> dict[str, Tensor]:
    """The outputs by name, on the CPU. Weights and inputs are drawn there, too."""
    config = load_config(Stage2Config, [ROOT / "configs" / "tiny.yaml"], ["vae.path="])
    torch.manual_seed(0)
    transformer = build_transformer(config.model)
    torch.nn.init.normal_(transformer.head.head.weight, std=0.02)  # zero after a fresh start
    codec = VideoCodec(build_vae(config.vae))
    video = torch.rand(1, 3, FRAMES, SIDE, SIDE) * 2 - 1
    place_transformer(transformer.eval().requires_grad_(False), device, SpeedConfig(offload=offload))
    codec.to(device)
    latents = codec.encode(video.to(device))
    window = 8 + 2 * config.speech.extra_window
    heard = torch.randn(1, latents.shape[2], window, config.model.audio_channels)
    noise = torch.randn(latents.shape).to(device)
    conditions = ModelConditions(heard.to(device), latents, motion=latents[:, :, :2])
    sampler = build_sampler(replace(config.diffusion, num_steps=STEPS, border=1))
    timestep = torch.tensor([637.0], device=device)
    outputs = {
        "forward": transformer(noise, timestep, replace(conditions, motion=None)),
        "latents": latents,
        "decoded": codec.decode(latents),
        "sample": sampler.sample(transformer, noise, conditions),
    }
    return {name: value.float().cpu() for name, value in outputs.items()}


@torch.no_grad()
def differences(device: torch.device) -> dict[str, float]:
    """Largest absolute difference of every output to the CPU's."""
    # TF32 keeps ten bits of a product's factors: that is another arithmetic, not another device.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    expected, found = computed(torch.device("cpu")), computed(device)
    results = {name: _difference(found[name], value) for name, value in expected.items()}
    if device.type == "cuda":
        offloaded = computed(device, offload=True)
        results["sample, offload"] = _difference(offloaded["sample"], expected["sample"])
    return results


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    try:
        results = differences(choose_device(parser.parse_args(argv).device))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    print(json.dumps(results))
    # A NaN is not within.
    return 0 if all(value <= TOLERANCES[name.partition(",")[0]] for name, value in results.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
