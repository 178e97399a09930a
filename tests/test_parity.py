"""tools/parity.py: exit codes on folders made here, and the golden folders where they are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked_python import forked_python
from golden import GOLDEN, REASON
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tools"))

import parity  # noqa: E402
import parity_kinds  # noqa: E402
from model_toys import tiny_inputs, tiny_transformer  # noqa: E402

from common.models.convert import to_public_state_dict  # noqa: E402


@pytest.fixture(scope="module")
def made_golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A golden folder of other sizes than the shared one, computed by this program itself."""
    folder = tmp_path_factory.mktemp("golden") / "odd sizes"
    folder.mkdir()
    model, inputs = tiny_transformer(text_tokens=512), tiny_inputs(1, frames=4, reference_frames=4)
    given = {
        "noise": inputs["latents"],
        "ref_latents": inputs["reference"],
        "audio_feats": inputs["audio_features"],
        "context": torch.randn(1, 3, 10),
        "motion_latents": torch.randn(1, 4, 2, 4, 6),
    }
    config = {"cfg": {"heads": 2, "aheads": 2}, "steps": 2, "f": 4, "h": 4, "w": 6}
    (folder / "config.json").write_text(json.dumps(config))
    weights = {k: v.contiguous() for k, v in to_public_state_dict(model.state_dict()).items()}
    save_file(weights, folder / "weights.safetensors")
    save_file(given, folder / "inputs.safetensors")
    with torch.no_grad():
        outputs = parity_kinds.compute_xdub(parity_kinds.Golden(config, weights, given, {}))
    save_file({k: v.contiguous() for k, v in outputs.items()}, folder / "outputs.safetensors")
    return folder


@pytest.fixture
def golden(made_golden: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_golden, tmp_path / "golden"))


def test_agreement_is_printed_per_output(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main([str(golden)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert all(line.endswith("ok") for line in lines)


@pytest.mark.parametrize(
    ("name", "error", "code"),
    [
        ("forward_t637", 5e-4, 1),
        ("forward_t637", 2e-5, 0),
        ("sample", 5e-4, 0),
        ("sample_motion", 5e-3, 1),
        ("timesteps_30_shift5", 1.0, 1),
        ("audio_embedding", float("nan"), 1),
    ],
)
def test_tolerances(golden: Path, name: str, error: float, code: int) -> None:
    outputs = load_file(golden / "outputs.safetensors")
    outputs[name].view(-1)[0] += error
    save_file(outputs, golden / "outputs.safetensors")
    assert parity.main([str(golden)]) == code


def test_an_output_that_is_not_computed_fails(golden: Path) -> None:
    outputs = load_file(golden / "outputs.safetensors")
    save_file(outputs | {"something_new": torch.zeros(1)}, golden / "outputs.safetensors")
    assert parity.main([str(golden)]) == 1


@pytest.mark.parametrize(
    "name", ["config.json", "weights.safetensors", "inputs.safetensors", "outputs.safetensors"]
)
@pytest.mark.parametrize("damage", ["absent", "garbage"])
def test_a_folder_that_is_not_whole_is_bad_input(
    golden: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (golden / name).unlink()
    if damage == "garbage":
        (golden / name).write_bytes(b"garbage")
    assert parity.main([str(golden)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert name in captured.err
    assert captured.err.count("\n") == 1


def test_an_unknown_kind_and_a_missing_entry_are_bad_input(golden: Path) -> None:
    inputs = load_file(golden / "inputs.safetensors")
    save_file({k: v for k, v in inputs.items() if k != "context"}, golden / "inputs.safetensors")
    assert parity.main([str(golden)]) == 2
    (golden / "config.json").write_text('{"kind": "unknown"}')
    assert parity.main([str(golden)]) == 2
    assert parity.main([str(golden / "nowhere")]) == 2


def test_runs_as_a_script_from_anywhere(golden: Path, tmp_path: Path) -> None:
    command = [forked_python(), str(REPOSITORY / "tools" / "parity.py"), str(golden)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    "kind", ["xdub_tiny", "vae38_tiny", "whisper_tiny", "tbdub_tiny", "hubert_tiny", "xdub_boxes"]
)
def test_the_public_arithmetic(kind: str) -> None:
    if not (GOLDEN / kind).is_dir():
        pytest.skip(REASON)
    assert parity.main([str(GOLDEN / kind)]) == 0
