"""LPIPS, FID and FVD: the public networks' names and shapes, their arithmetic, and known distances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perception_clips import make_dubbed_clip, make_footage
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.nn import functional

from common.errors import UserError
from evaluation.metrics.fid import EVERY, Fid, load_inception
from evaluation.metrics.frechet import Moments, frechet_distance, pooled_distance
from evaluation.metrics.fvd import Fvd, load_i3d
from evaluation.metrics.lpips import LpipsToTruth, load_lpips, lpips_distances
from evaluation.metrics.perception import PerceptionWeights, load_measures
from evaluation.networks.alexnet import AlexNet
from evaluation.networks.i3d import I3D
from evaluation.networks.inception import FidInception
from evaluation.networks.vgg16 import VGG16
from evaluation.networks.weights import load_network

ALEX, VGG = (64, 192, 384, 256, 256), (64, 128, 256, 512, 512)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def _random(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict whose batch norms do something too."""
    torch.manual_seed(seed)
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            state[name] = torch.rand_like(value) + 0.5
        elif name.endswith(("bn.weight", "bn.bias", "running_mean")):
            state[name] = torch.randn_like(value) * 0.1 + float(name.endswith("weight"))
        else:
            state[name] = value.clone()
    return state


def _linear_file(path: Path, widths: tuple[int, ...], seed: int = 0) -> Path:
    rng = torch.Generator().manual_seed(seed)
    weights = {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1, generator=rng) for i, n in enumerate(widths)}
    torch.save(weights, path)
    return path


def _pictures(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------------- LPIPS


def test_backbones_have_the_names_of_torchvision() -> None:
    alex, vgg = _shapes(AlexNet()), _shapes(VGG16())
    assert alex["features.0.weight"] == (64, 3, 11, 11)
    assert alex["features.3.weight"] == (192, 64, 5, 5)
    assert alex["features.6.weight"] == (384, 192, 3, 3)
    assert alex["features.8.weight"] == (256, 384, 3, 3)
    assert alex["features.10.bias"] == (256,)
    assert len(alex) == 10 and _parameters(AlexNet()) == 2_469_696
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert sorted(vgg) == sorted(f"features.{i}.{part}" for i in convolutions for part in ("weight", "bias"))
    assert vgg["features.10.weight"] == (256, 128, 3, 3) and vgg["features.28.weight"] == (512, 512, 3, 3)
    assert _parameters(VGG16()) == 14_714_688


def _alex_by_hand(weights: dict[str, Tensor], picture: Tensor) -> list[Tensor]:
    """The five maps, written out."""
    options: dict[int, Any] = {0: {"stride": 4, "padding": 2}, 3: {"padding": 2}}
    maps, x = [], picture
    for i in (0, 3, 6, 8, 10):
        if i in (3, 6):
            x = functional.max_pool2d(x, 3, 2)
        w, b = weights[f"features.{i}.weight"], weights[f"features.{i}.bias"]
        x = functional.conv2d(x, w, b, **options.get(i, {"padding": 1})).relu()
        maps.append(x)
    return maps


def _vgg_by_hand(weights: dict[str, Tensor], picture: Tensor) -> list[Tensor]:
    maps, x = [], picture
    for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        if maps:
            x = functional.max_pool2d(x, 2, 2)
        for i in stage:
            w, b = weights[f"features.{i}.weight"], weights[f"features.{i}.bias"]
            x = functional.conv2d(x, w, b, padding=1).relu()
        maps.append(x)
    return maps


@pytest.mark.parametrize("variant", ["alex", "vgg"])
def test_lpips_is_what_the_paper_writes(tmp_path: Path, variant: str) -> None:
    widths, by_hand = (ALEX, _alex_by_hand) if variant == "alex" else (VGG, _vgg_by_hand)
    state = _random(AlexNet() if variant == "alex" else VGG16())
    state["classifier.6.bias"] = torch.zeros(1000)  # the public files have a classifier, too
    torch.save(state, tmp_path / "backbone.pth")
    network = load_lpips(variant, tmp_path / "backbone.pth", _linear_file(tmp_path / "linear.pth", widths))
    a, b = _pictures(2, 64), _pictures(2, 64, seed=1)
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    linear = torch.load(tmp_path / "linear.pth", weights_only=True)
    expected = []
    for x, y in zip(a, b, strict=True):
        scaled = [
            torch.from_numpy(((p / 127.5 - 1) - shift) / scale).float().permute(2, 0, 1) for p in (x, y)
        ]
        maps = [[m[0].double().numpy() for m in by_hand(state, picture[None])] for picture in scaled]
        total = 0.0
        for i, (fa, fb) in enumerate(zip(*maps, strict=True)):
            w = linear[f"lin{i}.model.1.weight"].double().numpy()[0, :, 0, 0]
            fa, fb = (f / (np.sqrt((f**2).sum(axis=0)) + 1e-10) for f in (fa, fb))
            total += float(np.einsum("c,chw->hw", w, (fa - fb) ** 2).mean())
        expected.append(total)
    np.testing.assert_allclose(lpips_distances(network, a, b), expected, rtol=1e-3)
    assert lpips_distances(network, a, a) == [0.0, 0.0]
    with pytest.raises(ValueError, match="shapes"):
        lpips_distances(network, a, b[:1])


def test_lpips_looks_at_the_right_answer(tmp_path: Path) -> None:
    torch.save(_random(AlexNet()), tmp_path / "alexnet.pth")
    network = load_lpips("alex", tmp_path / "alexnet.pth", _linear_file(tmp_path / "alex.pth", ALEX))
    measure = LpipsToTruth(network, "alex")
    source, made, truth = (make_footage(_pictures(5, 64, seed)) for seed in range(3))
    assert measure(make_dubbed_clip(source, made)) == {}
    far = measure(make_dubbed_clip(source, made, truth=truth))["lpips_alex"]
    assert far == pytest.approx(np.mean(lpips_distances(network, made.crops, truth.crops)))
    assert measure(make_dubbed_clip(source, truth, truth=truth)) == {"lpips_alex": 0.0}
    for kind in ("self", "cycle"):
        assert measure(make_dubbed_clip(source, source, kind)) == {"lpips_alex": 0.0}
    near = np.clip(truth.crops.astype(int) + 8, 0, 255).astype(np.uint8)
    assert measure(make_dubbed_clip(source, make_footage(near), truth=truth))["lpips_alex"] < far / 3


# ----------------------------------------------------------------------------------- files of weights


def test_foreign_and_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    alex, vgg = tmp_path / "alexnet.pth", tmp_path / "vgg16.pth"
    torch.save(_random(AlexNet()), alex)
    vgg_linear = _linear_file(tmp_path / "vgg_linear.pth", VGG)
    with pytest.raises(UserError, match=r"vgg_linear\.pth: is no linear part.*'lin1\.model\.1\.weight' is"):
        load_lpips("alex", alex, vgg_linear)
    with pytest.raises(
        UserError, match=r"alexnet\.pth: is no VGG-16.*'features\.0\.weight' is \(64, 3, 11, 11\)"
    ):
        load_lpips("vgg", alex, vgg_linear)
    state = _random(AlexNet())
    del state["features.8.bias"]
    torch.save(state, vgg)
    with pytest.raises(UserError, match=r"lacks the key 'features\.8\.bias'"):
        load_network(AlexNet(), vgg, "AlexNet of torchvision")
    with pytest.raises(UserError, match="does not exist"):
        load_network(AlexNet(), tmp_path / "none.pth", "AlexNet of torchvision")


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    whole, broken, script, empty = (
        tmp_path / name for name in ("whole.pt", "broken.pth", "script.pt", "e.pth")
    )
    torch.save(nn.Linear(2, 2), whole)
    torch.save({"a": torch.zeros(1000)}, broken)
    broken.write_bytes(broken.read_bytes()[:700])
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(script))
    empty.write_bytes(b"")
    no_tensors = tmp_path / "tensorless.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, no_tensors)
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(b"nothing of the kind")
    for file in (whole, broken, script, empty, no_tensors, odd):
        with pytest.raises(UserError, match=rf"{file.name}.*cannot be read as the weights of I3D"):
            load_i3d(file)


def test_both_formats_give_one_network(tmp_path: Path) -> None:
    state = _random(AlexNet())
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=False)  # as old public files are
    save_file(state, tmp_path / "a.safetensors")
    picture = torch.rand(1, 3, 64, 64)
    maps = [
        load_network(AlexNet(), tmp_path / name, "it")(picture)[-1] for name in ("a.pth", "a.safetensors")
    ]
    torch.testing.assert_close(*maps)


# --------------------------------------------------------------------------------------- the Frechet part


def test_distances_of_known_gaussians() -> None:
    eye = np.eye(2)
    assert frechet_distance(np.zeros(2), eye, np.array([3.0, 4.0]), 4 * eye) == pytest.approx(25 + 2)
    assert frechet_distance(np.zeros(1), np.array([[9.0]]), np.ones(1), np.array([[1.0]])) == pytest.approx(5)
    rng = np.random.default_rng(0)
    a, b = (m @ m.T for m in rng.normal(size=(2, 6, 6)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(np.zeros(6), a, np.zeros(6), b) == pytest.approx(expected)
    flat = np.outer(np.arange(6.0), np.arange(6.0))  # rank 1
    assert frechet_distance(np.ones(6), flat, np.ones(6), flat) == pytest.approx(0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_moments_do_not_depend_on_the_pieces(pieces: list[int], seed: int) -> None:
    rows = np.random.default_rng(seed).normal(3, 2, (sum(pieces) + 1, 3))
    moments = Moments(3)
    for part in np.split(rows, np.cumsum(pieces)):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T), atol=1e-9)
    with pytest.raises(ValueError, match="two rows"):
        _ = Moments(2).covariance


def test_pooled_distances_of_moved_and_spread_features() -> None:
    rng = np.random.default_rng(1)
    clips = [(rows, rows) for rows in rng.normal(size=(3, 40, 4))]
    assert pooled_distance(clips, 120) == pytest.approx(0, abs=1e-9)
    step = np.array([1.0, 0, 2, 0])
    assert pooled_distance([(rows + step, rows) for rows, _ in clips], 120) == pytest.approx(5)
    rows = np.concatenate([rows for rows, _ in clips])
    spread = pooled_distance([(3 * (rows - rows.mean(axis=0)) + rows.mean(axis=0), rows)], 120)
    assert spread == pytest.approx(4 * np.trace(np.cov(rows.T)))  # (3 - 1)^2 times the variance
    assert pooled_distance(clips, 121) is None and pooled_distance([], 0) is None


# ------------------------------------------------------------------------------------------------- FID


def test_inception_has_the_names_of_the_public_weights() -> None:
    network = FidInception()
    shapes = _shapes(network)
    known = {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Conv2d_1a_3x3.bn.running_var": (32,),
        "Conv2d_2b_3x3.conv.weight": (64, 32, 3, 3),
        "Conv2d_3b_1x1.conv.weight": (80, 64, 1, 1),
        "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
        "Mixed_5b.branch1x1.conv.weight": (64, 192, 1, 1),
        "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
        "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
        "Mixed_5d.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
        "Mixed_6a.branch3x3dbl_3.bn.bias": (96,),
        "Mixed_6b.branch7x7_2.conv.weight": (128, 128, 1, 7),
        "Mixed_6c.branch7x7dbl_2.conv.weight": (160, 160, 7, 1),
        "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
        "Mixed_7a.branch3x3_2.conv.weight": (320, 192, 3, 3),
        "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
        "Mixed_7b.branch3x3_2a.conv.weight": (384, 384, 1, 3),
        "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
        "Mixed_7c.branch3x3dbl_1.conv.weight": (448, 2048, 1, 1),
        "Mixed_7c.branch3x3dbl_3b.bn.running_mean": (384,),
        "Mixed_7c.branch_pool.conv.weight": (192, 2048, 1, 1),
        "fc.weight": (1008, 2048),
    }
    assert {name: shapes.get(name) for name in known} == known
    assert sum(name.endswith("conv.weight") for name in shapes) == 94
    assert _parameters(network) - _parameters(network.fc) == 21_785_568  # torchvision's count less its head


def _unit2d(state: dict[str, Tensor], name: str, x: Tensor, **options: Any) -> Tensor:
    x = functional.conv2d(x, state[f"{name}.conv.weight"], **options)
    parts = [state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, eps=0.001).relu()


def test_the_patched_blocks_pool_as_tensorflow_did() -> None:
    network = FidInception().eval()
    state = _random(network)
    network.load_state_dict(state)
    ones = functional.conv2d(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3), padding=1)
    with torch.no_grad():
        x = torch.rand(1, 192, 5, 5)
        sums = functional.conv2d(x, torch.ones(192, 1, 3, 3), padding=1, groups=192)
        pooled = _unit2d(state, "Mixed_5b.branch_pool", sums / ones)
        torch.testing.assert_close(network.Mixed_5b(x)[:, -32:], pooled, rtol=1e-4, atol=1e-5)
        x = torch.rand(1, 2048, 4, 4)
        last = network.Mixed_7c(x)
        assert last.shape == (1, 2048, 4, 4)
        pooled = _unit2d(state, "Mixed_7c.branch_pool", functional.max_pool2d(x, 3, 1, 1))
        torch.testing.assert_close(last[:, -192:], pooled, rtol=1e-4, atol=1e-5)
        start = _unit2d(state, "Mixed_7c.branch3x3_1", x)
        fork = [
            _unit2d(state, "Mixed_7c.branch3x3_2a", start, padding=(0, 1)),
            _unit2d(state, "Mixed_7c.branch3x3_2b", start, padding=(1, 0)),
        ]
        torch.testing.assert_close(last[:, 320:1088], torch.cat(fork, dim=1), rtol=1e-4, atol=1e-5)


def test_fid_of_the_full_network(tmp_path: Path) -> None:
    file = tmp_path / "pt_inception.pth"
    state = _random(FidInception())
    without = {name: value for name, value in state.items() if "num_batches" not in name}
    torch.save(without, file)
    network = load_inception(file)
    measure = Fid(network)
    footage = make_footage(_pictures(EVERY, 32))
    kept = measure.features(make_dubbed_clip(footage, footage))
    assert kept["made"].shape == (1, 2048) and kept["made"].dtype == np.float16
    assert np.isfinite(kept["made"]).all() and kept["made"].std() > 0
    torch.save({**without, "fc.weight": torch.zeros(1000, 2048)}, file)  # as torchvision's own
    with pytest.raises(UserError, match=r"no Inception v3 of FID, its 'fc\.weight' is \(1000, 2048\)"):
        load_inception(file)


class _Colours(nn.Module):
    """Stands for a judge: the colours of a picture, or of a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.flatten(2).mean(dim=2)


def test_fid_takes_every_fifth_frame_with_a_face_and_few_are_left_out() -> None:
    measure = Fid(_Colours().eval(), fewest=6)  # type: ignore[arg-type]
    crops = _pictures(21, 8)
    seen = np.ones(21, bool)
    seen[[3, 10]] = False
    clip = make_dubbed_clip(make_footage(crops, seen), make_footage(255 - crops))
    kept = measure.features(clip)
    chosen = crops[[0, 5, 15, 20]].reshape(4, -1, 3).mean(axis=1) / 127.5 - 1
    np.testing.assert_allclose(kept["real"], chosen, atol=1e-3)
    np.testing.assert_allclose(kept["made"], -chosen, atol=1e-3)
    assert measure.pool([kept]) == {} and measure.pool([]) == {}
    assert measure.pool([kept, {}, kept])["fid"] == pytest.approx(
        4 * (chosen.mean(axis=0) ** 2).sum(), rel=0.01
    )
    for kind, expected in (("self", {"made", "real"}), ("silence", set()), ("cycle", set())):
        assert set(measure.features(make_dubbed_clip(clip.source, clip.made, kind))) == expected
    assert measure.features(make_dubbed_clip(make_footage(crops, np.zeros(21, bool)), clip.made)) == {}
    assert "biased" in measure.metrics[0].formula and "6 frames" in measure.metrics[0].formula


# ------------------------------------------------------------------------------------------------- FVD


def test_i3d_has_the_names_of_the_public_weights() -> None:
    network = I3D()
    shapes = _shapes(network)
    known = {
        "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
        "Conv3d_1a_7x7.bn.running_mean": (64,),
        "Conv3d_2b_1x1.conv3d.weight": (64, 64, 1, 1, 1),
        "Conv3d_2c_3x3.conv3d.weight": (192, 64, 3, 3, 3),
        "Mixed_3b.b0.conv3d.weight": (64, 192, 1, 1, 1),
        "Mixed_3b.b1a.bn.weight": (96,),
        "Mixed_3c.b2b.conv3d.weight": (96, 32, 3, 3, 3),
        "Mixed_4b.b1b.conv3d.weight": (208, 96, 3, 3, 3),
        "Mixed_4e.b3b.conv3d.weight": (64, 512, 1, 1, 1),
        "Mixed_4f.b0.conv3d.weight": (256, 528, 1, 1, 1),
        "Mixed_5b.b2a.conv3d.weight": (32, 832, 1, 1, 1),
        "Mixed_5c.b1b.conv3d.weight": (384, 192, 3, 3, 3),
        "Mixed_5c.b3b.bn.running_var": (128,),
        "logits.conv3d.weight": (400, 1024, 1, 1, 1),
        "logits.conv3d.bias": (400,),
    }
    assert {name: shapes.get(name) for name in known} == known
    assert sum(name.endswith("conv3d.weight") for name in shapes) == 58
    assert "Conv3d_1a_7x7.conv3d.bias" not in shapes and "logits.bn.weight" not in shapes


def _unit3d(state: dict[str, Tensor], name: str, x: Tensor, **options: Any) -> Tensor:
    x = functional.conv3d(x, state[f"{name}.conv3d.weight"], **options)
    parts = [state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return functional.batch_norm(x, *parts, eps=0.001).relu()


def test_i3d_pads_as_tensorflow_does() -> None:
    network = I3D().eval()
    state = _random(network)
    network.load_state_dict(state)
    with torch.no_grad():
        x = torch.rand(1, 3, 4, 14, 13)
        # Window 7, step 2: five zeros for an even length, two before and three behind; six for an odd one.
        padded = functional.pad(x, (3, 3, 2, 3, 2, 3))
        expected = _unit3d(state, "Conv3d_1a_7x7", padded, stride=2)
        torch.testing.assert_close(network.Conv3d_1a_7x7(x), expected, rtol=1e-4, atol=1e-5)
        x = torch.rand(1, 192, 2, 4, 4)
        branches = [
            _unit3d(state, "Mixed_3b.b0", x),
            _unit3d(state, "Mixed_3b.b1b", _unit3d(state, "Mixed_3b.b1a", x), padding=1),
            _unit3d(state, "Mixed_3b.b2b", _unit3d(state, "Mixed_3b.b2a", x), padding=1),
            _unit3d(state, "Mixed_3b.b3b", functional.max_pool3d(x, 3, 1, 1)),
        ]
        torch.testing.assert_close(network.Mixed_3b(x), torch.cat(branches, dim=1), rtol=1e-4, atol=1e-5)


def test_i3d_goes_through_a_file(tmp_path: Path) -> None:
    state = _random(I3D())
    torch.save(
        {name: v for name, v in state.items() if "num_batches" not in name}, tmp_path / "rgb_imagenet.pt"
    )
    network = load_i3d(tmp_path / "rgb_imagenet.pt")
    assert all(torch.equal(value, state[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        logits = network(torch.rand(1, 3, 9, 193, 193) * 2 - 1)
    assert logits.shape == (1, 400) and torch.isfinite(logits).all() and logits.std() > 0
    torch.save({**state, "logits.conv3d.bias": torch.zeros(157)}, tmp_path / "rgb_charades.pt")
    with pytest.raises(UserError, match=r"rgb_charades\.pt: is no I3D.*'logits\.conv3d\.bias' is \(157,\)"):
        load_i3d(tmp_path / "rgb_charades.pt")


def test_fvd_takes_clips_of_sixteen_frames_with_a_face() -> None:
    measure = Fvd(_Colours().eval(), fewest=2)  # type: ignore[arg-type]
    crops = _pictures(60, 8)
    seen = np.ones(60, bool)
    seen[20] = False
    clip = make_dubbed_clip(make_footage(crops, seen), make_footage(255 - crops))
    kept = measure.features(
        clip
    )  # 0-15 and 32-47; one frame of the second clip has no face, the last is short
    chosen = np.stack([crops[first : first + 16].mean(axis=(0, 1, 2)) for first in (0, 32)]) / 127.5 - 1
    np.testing.assert_allclose(kept["real"], chosen, atol=0.01)
    np.testing.assert_allclose(kept["made"], -chosen, atol=0.01)
    assert measure.pool([kept])["fvd"] == pytest.approx(4 * (kept["real"].mean(axis=0) ** 2).sum(), rel=0.01)
    assert Fvd(_Colours().eval(), fewest=3).pool([kept]) == {}  # type: ignore[arg-type]
    short = make_footage(crops[:15])
    assert measure.features(make_dubbed_clip(short, short)) == {}


# ---------------------------------------------------------------------------------------- all together


def test_without_files_every_fact_names_what_is_missing(tmp_path: Path) -> None:
    measures, pooled, facts = load_measures(PerceptionWeights(face_root=tmp_path))
    assert [metric.key for measure in measures for metric in measure.metrics] == ["dur_err", "int_corr"]
    assert pooled == []
    for title, file in {
        "CSIM, ID-P, ID-TC": "buffalo_l",
        "LPIPS (alex)": "needs alexnet-owt-7be5be79.pth and alex.pth",
        "LPIPS (vgg)": "needs vgg16-397923af.pth and vgg.pth",
        "FID": "needs pt_inception-2015-12-05-6726825d.pth",
        "FVD": "needs rgb_imagenet.pt",
        "V-SIM": "needs wavlm-base-plus-sv",
        "WER": "needs whisper",
    }.items():
        assert facts[title].startswith("not measured") and file in facts[title]


def test_given_files_are_loaded_and_half_a_pair_is_refused(tmp_path: Path) -> None:
    torch.save(_random(AlexNet()), tmp_path / "alexnet.pth")
    linear = _linear_file(tmp_path / "alex.pth", ALEX)
    weights = PerceptionWeights(alexnet=tmp_path / "alexnet.pth", lpips_alex=linear, face_root=tmp_path)
    measures, _, facts = load_measures(weights)
    assert "lpips_alex" in [metric.key for measure in measures for metric in measure.metrics]
    assert facts["LPIPS (alex)"] == "v0.1"
    first = measures[0].fingerprint
    _linear_file(linear, ALEX, seed=1)
    assert load_measures(weights)[0][0].fingerprint != first
    with pytest.raises(UserError, match=r"LPIPS \(alex\) needs two files and 'lpips_alex' is not set"):
        load_measures(PerceptionWeights(alexnet=tmp_path / "alexnet.pth", face_root=tmp_path))
    with pytest.raises(UserError, match=r"none\.pth"):
        load_measures(PerceptionWeights(inception=tmp_path / "none.pth", face_root=tmp_path))
