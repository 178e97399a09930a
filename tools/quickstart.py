"""Both stages and a dub on rendered characters, start to finish on two CPU cores; see tools/quickstart.sh.

Every step is the product's own command, run as a user would run it. The two trainings share what is left of
the time budget after the steps whose length is given by the data. They go on from the models that come with
the repository, since minutes are too few to learn speech from nothing; --from-scratch starts with random
weights, and with --minutes and --clips makes such models.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate_rendered import evaluate

from common.config import load_config
from common.errors import EXIT_CODE, UserError
from common.files import require_file, require_writable_dir, write_json
from common.rendered.clips import ClipRequest, make_clips
from common.rendered.scene import HELD_OUT_SEEDS
from stage2_dubber.config import Stage2Config

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "configs" / "tiny.yaml"
GENERATOR, EDITOR = ROOT / "models" / "tiny-generator", ROOT / "models" / "bootdub-tiny"
BUDGET_MINUTES = 17.0  # of the 20 promised: slower disks and longer installs must fit in too
GENERATOR_SHARE = 0.3  # of the minutes for training
# Minutes of the steps that follow a training, measured on two cores without bf16 instructions.
COMPANIONS_PER_CLIP, DUB, MEASURE = 0.13, 0.8, 3.0
PHASE_SHARES = {"structure": 0.75, "lip": 0.17, "texture": 0.08}
LORA_RANK = 16
GO_ON = ("train.learning_rate=5.0e-4",)  # a trained model is not to be shaken up
CLIPS, SECONDS, SIZE = 36, 3.0, 128
LANGUAGES = ("en-us", "en")  # one language is sooner learnt
HELD_OUT = ("none", "none", "none", "none", "hand", "microphone", "cup")  # occluders of the held-back clips


@dataclass
class Clock:
    """Where the run is, for the user and for dividing the time left."""

    started: float
    budget: float
    steps: int
    done: int = 0

    def minutes(self) -> float:
        return (time.time() - self.started) / 60

    def left(self, later: float) -> float:
        """Minutes of the budget that steps of `later` minutes leave, at least one."""
        return max(1.0, self.budget - self.minutes() - later)

    def say(self, what: str) -> None:
        self.done += 1
        over = self.minutes()
        print(
            f"\n[{self.done}/{self.steps}] {what} ({over:.1f} min gone, "
            f"at most {max(0.0, self.budget - over):.0f} min left)",
            flush=True,
        )


def call(*command: str | Path, threads: int | None = None) -> None:
    """Run a command in the repository's root. Raises UserError where it fails; it has said why."""
    environment = None if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run([str(part) for part in command], cwd=ROOT, env=environment)
    if result.returncode:
        raise UserError(f"The step `{' '.join(map(str, command[:4]))} ...` failed, see above.")


def python(*arguments: str | Path) -> None:
    call(sys.executable, *arguments)


def render(folder: Path, clips: int) -> tuple[Path, Path]:
    """Characters to train on, and held-back ones (other people, other speech) with their truth."""
    train, held_out = folder / "train", folder / "held_out"
    python(
        *("-m", "common.rendered", "--output", train, "--count", str(clips)),
        *("--seconds", str(SECONDS), "--size", str(SIZE), "--workers", str(os.cpu_count() or 1)),
        *("--languages", *LANGUAGES),
    )
    held_out.mkdir(parents=True, exist_ok=True)
    for number, occluder in enumerate(HELD_OUT):
        seed = HELD_OUT_SEEDS[number]
        request = ClipRequest(seed, SECONDS, SIZE, occluder=occluder, pair=True, languages=LANGUAGES)
        make_clips(request, held_out)
    return train, held_out


def train_editor(work: Path, pairs: Path, start: Path, minutes: float, settings: Sequence[str]) -> Path:
    """The three phases, one after the other, the first from `start`; returns the last one's package."""
    package = start
    # Small layers: processes with one thread each beat one process with many.
    processes = next(n for n in (8, 4, 2, 1) if n <= (os.cpu_count() or 1))
    for phase, share in PHASE_SHARES.items():
        output = work / phase
        files = (TINY, ROOT / f"configs/stage2_{phase}.yaml", ROOT / "configs/stage2_tiny.yaml")
        batch = load_config(Stage2Config, files).train.global_batch_size
        call(
            *(Path(sys.executable).with_name("torchrun"), f"--nproc_per_node={processes}", "--standalone"),
            ROOT / "stage2_dubber" / "train.py",
            *("--config", *files),
            *(f"data.shards=[{pairs}]", f"train.output={output}", f"train.init_from={package}"),
            *(f"train.time_limit_minutes={minutes * share:.2f}", "train.max_steps=100000"),
            *(f"train.micro_batch_size={batch // processes}", *settings),
            *(
                ["train.keep_adapters=false"]  # the start may be a finished editor
                if phase == "structure"
                else [f"phase.lora_rank={LORA_RANK}", f"phase.lora_alpha={LORA_RANK}"]
            ),
            threads=1,
        )
        package = output / "package"
    return package


def run(arguments: argparse.Namespace) -> None:
    clock = Clock(arguments.started, arguments.minutes, steps=6)
    output = require_writable_dir(arguments.output).resolve()
    work = output / "work"
    if work.exists() and not arguments.resume:
        shutil.rmtree(work)

    clock.say("Render characters with known speech")
    train, held_out = render(work / "rendered", arguments.clips)

    minutes = clock.left(COMPANIONS_PER_CLIP * arguments.clips + DUB + MEASURE) * GENERATOR_SHARE
    clock.say("Stage 1: train the generator, make companions, write pairs")
    call(
        *("bash", ROOT / "tools/run_stage1.sh", "--videos", train, "--work", work / "stage1"),
        *("--config", TINY, ROOT / "configs/stage1.yaml", ROOT / "configs/stage1_tiny.yaml"),
        *(f"train.time_limit_minutes={minutes:.2f}", "train.max_steps=100000"),
        *([] if arguments.from_scratch else [f"train.init_from={GENERATOR}", *GO_ON]),
    )
    generator = work / "stage1" / "generator" / "package"

    clock.say("Stage 2: train the editor on the pairs")
    start, settings = (generator, ()) if arguments.from_scratch else (EDITOR, GO_ON)
    pairs = work / "stage1" / "pairs"
    editor = train_editor(work / "stage2", pairs, start, clock.left(DUB + MEASURE), settings)

    clock.say("Dub a clip with speech that no model has heard")
    video = arguments.video or held_out / f"r{HELD_OUT_SEEDS[0]:07d}_a.mp4"
    audio = arguments.audio or held_out / f"r{HELD_OUT_SEEDS[0]:07d}_b.mp4"
    track = [] if arguments.video else ["--track", video.with_name(f"{video.stem}.track.safetensors")]
    python(
        *("-m", "bootdub", "dub", "--video", video, "--audio", audio, "--model", editor, *track),
        *("--output", output / "dubbed.mp4", "--overwrite"),
        *("--side-by-side", output / "side_by_side.mp4", "--contact-sheet", output / "contact_sheet.png"),
    )

    clock.say("Measure both stages on held-back characters")
    scores = evaluate(held_out, editor, generator, output / "evaluation")

    clock.say("Write the report")
    write_json(output / "report.json", {**scores, "seconds_total": round(60 * clock.minutes(), 1)})
    for key, value in scores.items():
        print(f"  {key:28s} {value if value is None or isinstance(value, int) else round(value, 3)}")
    print(f"Everything is in {output}: dubbed.mp4, side_by_side.mp4, contact_sheet.png, report.json")
    print(f"The model is {editor}; dub with it: bootdub dub --model {editor} --video V --audio A --output O")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools/quickstart.sh", description=__doc__)
    parser.add_argument("--video", type=Path, help="your own clip to dub at the end")
    parser.add_argument("--audio", type=Path, help="the speech for it: a sound file or a video")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "quickstart")
    parser.add_argument("--minutes", type=float, default=BUDGET_MINUTES, help="time for everything")
    parser.add_argument("--clips", type=int, default=CLIPS, help="characters to train on")
    parser.add_argument("--from-scratch", action="store_true", help="train from random weights")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    try:
        if (arguments.video is None) != (arguments.audio is None):
            raise UserError("Give --video and --audio together, or neither.")
        if arguments.video is not None:
            arguments.video = require_file(arguments.video, "video").resolve()
            arguments.audio = require_file(arguments.audio, "audio").resolve()
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
