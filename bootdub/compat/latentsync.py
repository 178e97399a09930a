"""LatentSync's command line (``python -m scripts.inference``), done by BootDub.

    python -m bootdub.compat.latentsync --video_path V --audio_path A --video_out_path O

The result is as long as the sound; a video that is shorter goes back and forth. Further options are those of
``bootdub dub``, such as ``--model`` and ``--report``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bootdub.compat.run import run_dub, unused


def main(words: Sequence[str] | None = None) -> None:
    """Run it with these words; None: with those of the command line."""
    parser = argparse.ArgumentParser(prog="bootdub.compat.latentsync", allow_abbrev=False)
    parser.add_argument("--video_path", required=True, help="the clip to dub")
    parser.add_argument("--audio_path", required=True, help="the new speech")
    parser.add_argument("--video_out_path", required=True, help="the dubbed video to write")
    parser.add_argument("--seed", type=int, help="as of 'bootdub dub'; -1: the default")
    unused(parser, "LatentSync's own network", "--unet_config_path", "--inference_ckpt_path")
    unused(parser, "chosen for that network", "--inference_steps", "--guidance_scale", "--enable_deepcache")
    unused(parser, "BootDub writes beside its output alone", "--temp_dir")
    given, further = parser.parse_known_args(words)
    seed = [] if given.seed in (None, -1) else ["--seed", str(given.seed)]
    files = ["--video", given.video_path, "--audio", given.audio_path, "--output", given.video_out_path]
    run_dub(given, [*files, "--length", "bounce", *seed, *further])


if __name__ == "__main__":
    main()
