"""Weights on their way from file to file: memory, interruptions, and the format that is written."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest
import torch
from forked_python import forked_python
from hypothesis import given, settings
from hypothesis import strategies as st
from model_toys import tiny_hubert
from release_toys import OPTIONS, write_release, write_tbdub
from safetensors.torch import load_file, save_file

from common.config import load_config
from common.errors import UserError
from common.models.shards import Entry, made_entry, stored_entry, write_safetensors, write_shards
from common.models.stored import PIECE, open_folder, open_safetensors, open_torch
from stage2_dubber.importing.config import ImportConfig
from stage2_dubber.importing.package import import_package
from stage2_dubber.importing.sources import Given, open_sources

REPOSITORY = Path(__file__).resolve().parent.parent
DTYPES = (torch.float32, torch.float16, torch.bfloat16)

# Peak resident memory beyond what the imports take, mapped pages of the sources included.
MEASURE = """
    import resource, sys
    from pathlib import Path
    import torch
    from common.models.shards import stored_entry, write_shards
    from common.models.stored import open_safetensors, open_torch

    source, target, warm, dtype = *map(Path, sys.argv[1:4]), getattr(torch, sys.argv[4])

    def convert(stored, folder):
        write_shards(folder, [stored_entry(n, t, dtype) for n, t in stored.items()], "m", 40 * 10**6)

    convert(open_safetensors(warm), target / "warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert(open_torch(source)[0] if source.suffix == ".pt" else open_safetensors(source), target)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peak_memory_is_below_a_shard(tmp_path: Path, kind: str, dtype: str) -> None:
    state = {f"layer{n}.weight": torch.full((2500, 1000), 0.5 + n) for n in range(16)}  # 10 MB each
    source = tmp_path / f"model.{kind}"
    if kind == "pt":
        torch.save(state, source)
    else:
        save_file(state, source)
    save_file({"a": torch.ones(3_000_000)}, tmp_path / "warm.safetensors")
    arguments = [source, tmp_path / "out", tmp_path / "warm.safetensors", dtype]
    done = subprocess.run(
        [forked_python(), "-c", textwrap.dedent(MEASURE), *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shards = [file.stat().st_size for file in (tmp_path / "out").glob("*.safetensors")]
    assert len(shards) > 1 and max(shards) > 35e6
    assert int(done.stdout) < 1.3 * max(shards)
    written = open_folder(tmp_path / "out", "m")
    assert all(torch.equal(written[name].load().float(), tensor) for name, tensor in state.items())


IMPORT = """
    import resource, sys
    from pathlib import Path
    import torch
    from common.config import load_config
    from stage2_dubber.importing.config import StudentImportConfig, Variant
    from stage2_dubber.importing.package import import_package
    from stage2_dubber.importing.sources import Given
    from stage2_dubber.importing.tbdub import open_tbdub

    def convert(folder, output):
        words = ["heads.transformer=2", "heads.audio=2", "geometry.crop_size=32", "geometry.clip_frames=13"]
        config = load_config(StudentImportConfig, [], words)
        statistics = folder.with_name(f"{folder.name}.statistics.safetensors")
        given = Given(latent_statistics=statistics, dtype=torch.float32)
        sources = open_tbdub(folder, Variant.student, config, given)
        import_package(sources, config, given, output, "20MB")

    warm, source, output = map(Path, sys.argv[1:4])
    convert(warm, output / "warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert(source, output / "package")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize(("layers", "megabytes"), [(2, 180), (6, 420)])
def test_peak_memory_of_a_whole_import_is_that_of_a_few_pieces(
    tmp_path: Path, layers: int, megabytes: int
) -> None:
    """TBDub's: a transformer in bfloat16, which is widened, HuBERT of 70 MB in a pickled file."""
    (tmp_path / "out").mkdir()
    write_tbdub(tmp_path / "warm")
    hubert = tiny_hubert(hidden_size=64, intermediate_size=11_000)
    write_tbdub(tmp_path / "source", hubert, ffn_dim=300_000, num_layers=layers)
    arguments = [tmp_path / "warm", tmp_path / "source", tmp_path / "out"]
    done = subprocess.run(
        [forked_python(), "-c", textwrap.dedent(IMPORT), *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = sum(file.stat().st_size for file in (tmp_path / "out" / "package").rglob("*.safetensors"))
    assert written > megabytes * 1e6
    # Files held whole would take 80 MB and more. In a fresh process the libraries' own peak hides all of it.
    assert int(done.stdout) < 7 * PIECE


@settings(deadline=None, max_examples=30)
@given(
    st.dictionaries(
        st.text("abc.", min_size=1, max_size=5),
        st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(DTYPES)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 200),
)
def test_what_is_written_is_read_by_the_library(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, tuple[list[int], torch.dtype]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    state = {name: torch.randn(shape).to(dtype) for name, (shape, dtype) in tensors.items()}
    save_file(state, folder / "source.safetensors")
    stored = open_safetensors(folder / "source.safetensors")
    write_shards(folder / "out", [stored_entry(name, t) for name, t in stored.items()], "m", limit)
    found: dict[str, torch.Tensor] = {}
    for file in (folder / "out").glob("*.safetensors"):
        found |= load_file(file)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    assert {name: t.shape for name, t in open_folder(folder / "out", "m").items()} == {
        name: t.shape for name, t in state.items()
    }


def test_pieces_are_small_and_complete(tmp_path: Path) -> None:
    tensor = torch.randn(100, 10)
    save_file({"a": tensor}, tmp_path / "a.safetensors")
    pieces = list(open_safetensors(tmp_path / "a.safetensors")["a"].pieces(400))
    assert [len(piece) for piece in pieces] == [10] * 10
    assert torch.equal(torch.cat(pieces), tensor)
    torch.save({"w": {"a": tensor.t()}, "n": 3}, tmp_path / "a.pt")  # not contiguous
    stored, others = open_torch(tmp_path / "a.pt", "w")
    assert torch.equal(stored["a"].load(), tensor.t()) and others == {"n": 3}


def test_entries_that_break_their_word_are_refused(tmp_path: Path) -> None:
    short = Entry("a", torch.Size([3]), torch.float32, lambda limit: iter([torch.zeros(2)]))
    with pytest.raises(ValueError, match="8 bytes came, 12"):
        write_safetensors(tmp_path / "x", [short])
    with pytest.raises(ValueError, match="was made"):
        write_safetensors(tmp_path / "x", [made_entry("a", torch.Size([3]), lambda: torch.zeros(2))])
    save_file({"a": torch.arange(3)}, tmp_path / "i.safetensors")
    with pytest.raises(UserError, match="int64"):
        stored_entry("a", open_safetensors(tmp_path / "i.safetensors")["a"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interrupted_import_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    toy = write_release(tmp_path / "release")
    config = load_config(ImportConfig, [], OPTIONS)
    options = Given(latent_statistics=toy.statistics)
    sources = open_sources(toy.folder, config, options)
    before = sorted(tmp_path.iterdir())

    def stop(part: str, done: float, total: float | None) -> None:
        if part == "vae":
            raise error

    with pytest.raises(error):
        import_package(sources, config, options, tmp_path / "out", told=stop)
    assert sorted(tmp_path.iterdir()) == before
    # What a killed one left is no obstacle and does not stay.
    left = tmp_path / ".part-out.import"
    (left / "transformer").mkdir(parents=True)
    (left / "transformer" / "half.safetensors").write_bytes(b"x")
    assert import_package(sources, config, options, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])
    assert not list((tmp_path / "out").rglob("half*"))
    told: list[tuple[str, float, float | None]] = []
    assert import_package(
        sources, config, options, tmp_path / "out", overwrite=True, told=lambda *args: told.append(args)
    )
    assert {part for part, _, _ in told} == {"transformer", "vae", "speech/whisper", "speech/wav2vec2"}
    assert all(done <= total + 1e-9 for _, done, total in told if total is not None)


def test_two_imports_to_one_place_do_not_meet(tmp_path: Path) -> None:
    toy = write_release(tmp_path / "release")
    config = load_config(ImportConfig, [], OPTIONS)
    options = Given(latent_statistics=toy.statistics)
    sources = open_sources(toy.folder, config, options)

    refused: list[str] = []

    def second(part: str, done: float, total: float | None) -> None:
        if part not in refused:
            with pytest.raises(UserError, match="Another import"):
                import_package(sources, config, options, tmp_path / "out")
            refused.append(part)

    assert import_package(sources, config, options, tmp_path / "out", told=second)
    assert "vae" in refused
