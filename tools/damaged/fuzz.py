"""Fuzz what reads files of strangers, with Atheris (pip install 'bootdub[fuzz]').

    python tools/damaged/fuzz.py WHAT [CORPUS_DIR] [libFuzzer options, such as -max_total_time=600]

WHAT is container, sound, track, cues or jobs. Sentences for the user are expected; anything else that is
raised ends the run, and libFuzzer writes the input beside it. Containers are decoded in this very process,
so that a crash of the decoder is seen here, too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

_RAM = Path("/dev/shm")
_FRAMES = 50
_BOUNDS = ("pixels=1048576", "hours=0.1")


def read_container(path: Path) -> None:
    """All frames of a video, at most fifty."""
    from common.media import VideoReader

    with VideoReader(path, samples=True) as reader:
        for _ in reader.frames(0, _FRAMES):
            pass


def read_sound(path: Path) -> None:
    """All samples of a sound file."""
    from common.media import load_audio

    load_audio(path)


def read_track(path: Path) -> None:
    """Boxes of a face."""
    from common.face.box_backend import BoxDetector

    BoxDetector(track_file=str(path)).check(64, 48, 10)


def read_job_list(path: Path) -> None:
    """Rows of a list of jobs."""
    from stage2_dubber.dub.lists.job_list import read_jobs

    read_jobs(path, overwrite=False, finished=lambda _: False, cut=lambda _: False)


def read_cue_file(path: Path) -> None:
    """Rows of a cue file."""
    from stage2_dubber.dub.faces.cues import read_cues

    read_cues(path)


TARGETS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "container": (".mp4", read_container),
    "sound": (".wav", read_sound),
    "track": (".json", read_track),
    "cues": (".csv", read_cue_file),
    "jobs": (".csv", read_job_list),
}
"""What is fuzzed: ending of the file, and what reads it."""


def try_bytes(what: str, data: bytes, folder: Path) -> str | None:
    """Read ``data`` as a file of this kind: the sentence of a refusal, or None where it was taken.

    Raises:
        Exception: a fault; a refusal that is no sentence is one, too.
    """
    from common.errors import UserError

    suffix, read = TARGETS[what]
    path = folder / f"input{suffix}"
    path.write_bytes(data)
    try:
        read(path)
    except UserError as error:
        said = str(error)
        if not said or "\n" in said:
            raise AssertionError(f"this is no sentence: {said!r}") from error
        return said
    return None


def main(arguments: Sequence[str]) -> None:
    """Fuzz until it is stopped, or something is found."""
    import atheris

    if len(arguments) < 2 or arguments[1] not in TARGETS:
        raise SystemExit(__doc__)
    what = arguments[1]
    # What is imported here is instrumented: this project's own code, not the libraries.
    with atheris.instrument_imports(include=["common", "stage2_dubber"]):
        import common.face.box_backend  # noqa: F401
        import stage2_dubber.dub.lists.job_list  # noqa: F401
        from common.media.isolation.isolated import enter_decoding_process
        from common.media.isolation.limits import DecodingLimits, set_limits
    enter_decoding_process()
    set_limits(DecodingLimits().with_words(_BOUNDS))
    with tempfile.TemporaryDirectory(dir=_RAM if _RAM.is_dir() else None) as folder:
        atheris.Setup([arguments[0], *arguments[2:]], lambda data: try_bytes(what, data, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
