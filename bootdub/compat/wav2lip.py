"""Wav2Lip's command line (``python inference.py``), done by BootDub.

    python -m bootdub.compat.wav2lip --face V --audio A --outfile O

The result is as long as the sound; a video that is shorter begins again. It keeps its size, whatever
``--resize_factor`` says. Further options are those of ``bootdub dub``, such as ``--model`` and ``--report``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bootdub.compat.run import run_dub, told_in_one_sentence, unused
from common.errors import UserError

_NO_BOX = [-1, -1, -1, -1]
_WHOLE = [0, -1, 0, -1]
_PICTURES = (".jpg", ".jpeg", ".png")


def main(words: Sequence[str] | None = None) -> None:
    """Run it with these words; None: with those of the command line."""
    parser = argparse.ArgumentParser(prog="bootdub.compat.wav2lip", allow_abbrev=False)
    parser.add_argument("--face", required=True, help="the clip to dub")
    parser.add_argument("--audio", required=True, help="the new speech: a sound file or a video with sound")
    parser.add_argument("--outfile", default="results/result_voice.mp4", help="the dubbed video to write")
    parser.add_argument(
        "--box", nargs=4, type=int, default=_NO_BOX, help="of the face: top, bottom, left, right"
    )
    parser.add_argument("--crop", nargs=4, type=int, default=_WHOLE, help="refused: the picture stays whole")
    parser.add_argument("--static", default="False", help="refused: a video is dubbed, not a picture")
    parser.add_argument("--rotate", action="store_true", help="refused: the video's own rotation is followed")
    unused(parser, "Wav2Lip's own network", "--checkpoint_path", "--wav2lip_batch_size")
    unused(parser, "faces are found in another way", "--face_det_batch_size", "--pads", "--nosmooth")
    unused(parser, "the video's own size and rate are kept", "--resize_factor", "--fps")
    given, further = parser.parse_known_args(words)
    with told_in_one_sentence():
        _refuse(given)
    top, bottom, left, right = given.box
    box = [] if given.box == _NO_BOX else ["--box", f"{left},{top},{right},{bottom}"]
    files = ["--video", given.face, "--audio", given.audio, "--output", given.outfile]
    run_dub(given, [*files, "--length", "loop", *box, *further])


def _refuse(given: argparse.Namespace) -> None:
    """Raises UserError for what BootDub does not do."""
    if Path(given.face).suffix.lower() in _PICTURES or given.static.lower() in ("true", "1"):
        raise UserError(f"'{given.face}' would be dubbed as a picture that stands still: give a video.")
    if given.crop != _WHOLE:
        raise UserError("--crop would cut the picture, which BootDub keeps: choose the face by --box.")
    if given.rotate:
        raise UserError("--rotate is refused: BootDub follows the rotation that the video names; mend that.")


if __name__ == "__main__":
    main()
