"""`python -m common.speech_units.fit`: recordings of one voice -> the codebook of the speech encoder `units`.

Features of HuBERT or of a phonetic encoder are clustered by k-means in mini-batches, recording after
recording, so that memory does not grow with the speech. The folder that is written is whole: it holds the
network below the codebook, too, and every model package that is trained on it gets a copy.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from common.command import run_configured
from common.errors import UserError
from common.files import atomic_dir, remove_partial, write_json
from common.media import SAMPLE_RATE
from common.phonetics.recordings import Recording, from_folders
from common.progress import StepProgress
from common.speech.base import Features
from common.speech_units.config import UnitFittingConfig, UnitsConfig
from common.speech_units.encoder import CODEBOOK_FILE, SETTINGS_FILE, SOURCE_FOLDER, nearest
from common.speech_units.sources import UnitSource, open_source, source_files

Centres = npt.NDArray[np.float32]


def main(argv: list[str] | None = None) -> int:
    return run_configured(
        UnitFittingConfig,
        lambda config, dry_run: run(config, dry_run),
        prog="python -m common.speech_units.fit",
        description=__doc__ or "",
        argv=argv,
    )


def run(config: UnitFittingConfig, dry_run: bool = False) -> None:
    """Fit and write, or only say what would be done.

    Raises:
        UserError: no output, no network or no speech is named, or there is less speech than clusters.
    """
    units = config.units
    if not config.output:
        raise UserError("output is empty: name the folder that the speech units are to be written to.")
    if not units.folders:
        raise UserError("units.folders is empty: name folders with recordings of one voice.")
    recordings = _in_random_order(list(from_folders(units.folders, "units")), units.seed)
    seconds = sum(one.samples for one in recordings) / SAMPLE_RATE
    print(f"units: {units.clusters} clusters of {units.source}, {seconds:.0f} s in {len(recordings)} pieces")
    source_files(units.path)
    if dry_run:
        return
    source = open_source(units.source, units.path, units.layer)
    vectors = _Vectors(source, recordings, units)
    centres, explained = fit_centres(vectors, units.clusters, units.seed)
    folder = Path(config.output)
    remove_partial(folder.parent)
    with atomic_dir(folder) as temporary:
        (temporary / SOURCE_FOLDER).mkdir()
        for file in source_files(units.path):
            shutil.copy(file, temporary / SOURCE_FOLDER)
        safetensors.numpy.save_file({"centres": centres}, temporary / CODEBOOK_FILE)
        settings = {"source": units.source, "layer": units.layer, "clusters": units.clusters}
        write_json(temporary / SETTINGS_FILE, {**settings, "vectors": vectors.count, "explained": explained})
    print(
        f"units: {vectors.count} vectors; the centres explain {explained:.0%} of the variance -> {folder}",
        file=sys.stderr,
    )


def fit_centres(batches: Iterable[Features], clusters: int, seed: int) -> tuple[Centres, float]:
    """k-means in mini-batches (Sculley 2010), started by k-means++ on the first of them.

    Args:
        batches: (N, C) each, of which N >= ``clusters`` in the first.
        clusters: how many centres.
        seed: of the starting points.

    Returns:
        (clusters, C) float32, and the share of the last batch's variance that the nearest centres explain.

    Raises:
        UserError: there are fewer vectors than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans  # seconds to import

    means = MiniBatchKMeans(clusters, random_state=seed, n_init=1)
    last = np.zeros((0, 1), np.float32)
    for batch in batches:
        if not len(last) and len(batch) < clusters:
            break
        last = batch
        means.partial_fit(batch)
    if not len(last):
        raise UserError(
            f"There is too little speech for {clusters} units: name more of it in units.folders, or lower "
            "units.clusters."
        )
    centres = np.ascontiguousarray(means.cluster_centers_, np.float32)
    rest = np.square(last - centres[nearest(last, centres)]).sum()
    return centres, float(1 - rest / max(np.square(last - last.mean(axis=0)).sum(), 1e-12))


class _Vectors:
    """The features of recordings in batches; ``count``: how many there were."""

    def __init__(self, source: UnitSource, recordings: list[Recording], units: UnitsConfig) -> None:
        self._source, self._recordings, self._units = source, recordings, units
        self.count = 0

    def __iter__(self) -> Iterator[Features]:
        most, size = self._units.vectors, self._units.batch
        waiting: list[Features] = []
        progress = StepProgress("units", len(self._recordings))
        for recording in self._recordings:
            features = self._source.encode(recording.load())[: most - self.count]
            self.count += len(features)
            waiting.append(features)
            progress.step(len(features))
            if sum(map(len, waiting)) >= size or self.count == most:
                yield np.concatenate(waiting)
                waiting = []
            if self.count == most:
                return
        if waiting:
            yield np.concatenate(waiting)


def _in_random_order(recordings: list[Recording], seed: int) -> list[Recording]:
    order = np.random.default_rng(seed).permutation(len(recordings))
    return [recordings[number] for number in order]


if __name__ == "__main__":
    sys.exit(main())
