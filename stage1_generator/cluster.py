"""`python -m stage1_generator.cluster`: the steps of stage 1, in parts, on the machines of a Ray cluster.

The videos are parted by speakers. Each part is a work folder of its own (WORK/part-000 ...), in which the
same commands run as on one machine, so that the number of workers changes nothing in what is written.
Training is one run over the shards of all parts and stands between `encode` and `synthesize`; it is no step
here. With --dry-run nothing runs; with --measured it tells what --hours of video would take.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from common.cluster import LOCAL, joined_cluster, share
from common.command import exit_code_of
from common.config import load_config
from common.config_arguments import add_config_arguments, parse_config_arguments
from common.errors import UserError
from stage1_generator import blend, encode, filters, own_mouths, pack, prepare, report, retime, synthesize
from stage1_generator.config import Stage1Config, check
from stage1_generator.footage.videos import find_videos, part_of
from stage1_generator.work.measured import estimate, measured_rates

STEPS: dict[str, Callable[[list[str]], int]] = {
    "prepare": prepare.main,
    "encode": encode.main,
    "synthesize": synthesize.main,
    "blend": blend.main,
    "filters": filters.main,
    "retime": retime.main,
    "own_mouths": own_mouths.main,
    "pack": pack.main,
    "report": report.main,
}
"""The steps, in the order of use; each is a command."""

BEFORE_TRAINING = "prepare,encode"
_RETRIES = 3


@dataclass(frozen=True)
class PartEnd:
    """How a part has ended.

    Attributes:
        part: its number.
        step: the last one that ran.
        code: its exit code; 0: all steps are done.
        said: what the steps have written on standard error.
    """

    part: int
    step: str
    code: int
    said: str


def run_part(number: int, parts: int, work: str, words: Sequence[str], steps: Sequence[str]) -> PartEnd:
    """Run steps of one part in this process; those that are done are passed over."""
    said, code, step = io.StringIO(), 0, ""
    mine = [*words, f"work={part_folder(work, number)}", f"prepare.part={number}/{parts}"]
    for step in steps:
        with redirect_stderr(said), redirect_stdout(io.StringIO()):
            code = STEPS[step](mine)
        if code:
            break
    return PartEnd(number, step, code, said.getvalue())


def part_folder(work: str, number: int) -> Path:
    """The work folder of a part."""
    return Path(work) / f"part-{number:03d}"


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code, 1 where a part has failed."""
    parser = argparse.ArgumentParser(prog="python -m stage1_generator.cluster", description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--ray", default=LOCAL, metavar="ADDRESS", help="cluster: HOST:PORT, auto or local")
    parser.add_argument("--workers", type=int, help="processes at once; else one per GPU or four CPUs")
    parser.add_argument("--parts", type=int, default=1, help="into how many the speakers are parted")
    parser.add_argument("--steps", default=BEFORE_TRAINING, help=f"of {','.join(STEPS)}")
    parser.add_argument(
        "--measured", metavar="WORK", help="with --dry-run: work folder of a run on one machine"
    )
    parser.add_argument("--hours", type=float, default=1e6, help="with --dry-run: of source video")
    parser.add_argument("--cores", type=int, default=4, help="with --dry-run: of each worker")
    parser.add_argument("--price", type=float, help="with --dry-run: of a core for an hour")
    failed = 0

    def work() -> None:
        nonlocal failed
        arguments = parse_config_arguments(parser, argv)
        steps = _steps(arguments.steps)
        if arguments.parts < 1 or (arguments.workers or 1) < 1 or arguments.cores < 1 or arguments.hours <= 0:
            raise UserError("--parts, --workers, --cores and --hours are numbers above 0.")
        config = check(load_config(Stage1Config, arguments.config, arguments.overrides))
        if arguments.dry_run and arguments.measured:
            measured = load_config(
                Stage1Config, arguments.config, [*arguments.overrides, f"work={arguments.measured}"]
            )
            workers = arguments.workers or 1
            told = estimate(
                measured_rates(measured), arguments.hours, workers, arguments.cores, arguments.price
            )
            print("\n".join([f"{arguments.hours:,.0f} hours of video", *told]))
            return
        videos = find_videos(config.prepare)
        parts = sorted({part_of(video.speaker, arguments.parts) for video in videos})
        print(f"{len(videos)} videos in {len(parts)} parts: {', '.join(steps)}")
        if arguments.dry_run:
            return
        # The machines of a cluster have working folders of their own.
        words = ["--config", *(str(file.absolute()) for file in arguments.config), *arguments.overrides]
        words.append(f"prepare.videos={Path(config.prepare.videos).absolute()}")
        place = str(Path(config.work).absolute())
        failed = _run(arguments.ray, arguments.workers, parts, arguments.parts, place, words, steps)
        if "encode" in steps and not failed:
            shards = ",".join(str(part_folder(place, number) / "encoded") for number in parts)
            print(f"train on all parts: python -m stage1_generator.train ... 'data.shards=[{shards}]'")

    return exit_code_of(work) or int(failed > 0)


def _run(
    address: str,
    workers: int | None,
    numbers: Sequence[int],
    parts: int,
    work: str,
    words: Sequence[str],
    steps: Sequence[str],
) -> int:
    """Run steps of the parts on a cluster; how many parts have failed."""
    failed = 0
    with joined_cluster(address, workers) as machines:
        import ray

        gpus = sum(machine.gpus for machine in machines)
        count, cpus = share([machine.cpus for machine in machines], gpus, workers)
        run = ray.remote(num_cpus=cpus, num_gpus=1 if gpus else 0, max_retries=_RETRIES)(run_part)
        waiting = list(numbers)
        running = [run.remote(waiting.pop(0), parts, work, words, steps) for _ in numbers[:count]]
        while running:
            (ended,), running = ray.wait(running)
            if waiting:
                running.append(run.remote(waiting.pop(0), parts, work, words, steps))
            end: PartEnd = ray.get(ended)
            print(f"part {end.part}: " + (f"{end.step} failed" if end.code else "done"), file=sys.stderr)
            if end.code:
                failed += 1
                print(end.said.strip(), file=sys.stderr)
    return failed


def _steps(text: str) -> list[str]:
    wanted = text.split(",")
    for step in wanted:
        if step not in STEPS:
            raise UserError(f"--steps names '{step}': the steps are {', '.join(STEPS)}.")
    return [step for step in STEPS if step in wanted]


if __name__ == "__main__":
    sys.exit(main())
