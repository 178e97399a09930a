"""The models that judge looks: ArcFace with gradients, and vision encoders of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from judge_toys import arcface_onnx, toy_clip, toy_pack

from common.errors import UserError
from common.face.align import align_faces, five_points, template_similarity
from common.face.canonical import face_in_box
from common.face.identity import IdentityEncoder
from common.models.vision import VisionEncoder, load_preprocessing
from common.training.pixel.clip import DecodedClip, GivenConditions
from common.training.pixel.identity import FaceEmbedder, IdentityLoss
from common.training.pixel.perceptual import EmbeddingDistance, PerceptualLoss


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle, middle = np.deg2rad(degrees), points.mean(axis=0)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return ((points - middle) @ turn + middle).astype(np.float32)


def _picture(side: int, seed: int = 0) -> np.ndarray:
    """(S, S, 3) uint8, smooth: interpolation of noise would compare roundings."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin((3 + seed + c) * x + (5 - c) * y * y + c) for c in range(3)]
    return np.stack([127 + 120 * wave for wave in waves], axis=2).astype(np.uint8)


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize(("side", "degrees"), [(96, 0.0), (160, 20.0), (220, -35.0)])
def test_faces_are_aligned_as_insightface_does_it(side: int, degrees: float) -> None:
    from insightface.utils import face_align

    box = np.array([0.1, 0.15, 0.8, 0.95], np.float32) * side  # parts of the template lie beyond the picture
    points = _turned(face_in_box(box), degrees)
    picture = _picture(side)
    five = five_points(torch.from_numpy(points)[None])
    expected = face_align.norm_crop(picture, five[0].numpy(), 112)
    a, b = template_similarity(five, 112)
    matrix = face_align.estimate_norm(five[0].numpy(), 112)
    np.testing.assert_allclose([a.real.item(), a.imag.item()], [matrix[0, 0], matrix[1, 0]], atol=1e-5)
    np.testing.assert_allclose([b.real.item(), b.imag.item()], matrix[:, 2], atol=1e-3)
    ours = (align_faces(_tensor(picture), torch.from_numpy(points)[None]) + 1) * 127.5
    difference = np.abs(ours[0].permute(1, 2, 0).numpy() - expected.astype(np.float32))
    assert difference.mean() < 0.6 and np.quantile(difference, 0.98) < 3


def test_every_pixel_of_a_large_face_gets_a_gradient() -> None:
    side = 512
    frames = torch.zeros(1, 3, side, side, requires_grad=True)
    points = torch.from_numpy(face_in_box(np.array([90, 100, 420, 450], np.float32)))[None]
    align_faces(frames, points).sum().backward()
    assert frames.grad is not None
    assert (frames.grad[0, 0, 150:400, 150:360] > 0).all()


@pytest.mark.parametrize("mxnet", [False, True])
def test_embeddings_are_those_of_insightface(tmp_path: Path, mxnet: bool) -> None:
    root = toy_pack(tmp_path, mxnet=mxnet)
    ours, theirs = FaceEmbedder("tiny", root), IdentityEncoder("tiny", root)
    points = face_in_box(np.array([20, 20, 130, 140], np.float32))
    for seed in range(3):
        picture = _picture(150, seed)
        vector = ours(_tensor(picture), torch.from_numpy(points)[None])[0]
        assert float(vector @ torch.from_numpy(theirs.embed(picture, points))) > 0.999
    assert vector.norm() == pytest.approx(1, abs=1e-5)


def _clip(side: int = 64, batch: int = 2, frames: int = 8) -> DecodedClip:
    torch.manual_seed(0)
    real = torch.cat([_tensor(_picture(side, i)) for i in range(batch * frames)])
    real = real.unflatten(0, (batch, frames)).transpose(1, 2)
    made = (real + 0.3 * torch.randn_like(real)).requires_grad_()
    points = torch.from_numpy(face_in_box(np.array([8, 8, 56, 60], np.float32)))
    return DecodedClip(made, torch.zeros(batch, 2 * frames, 4), real, points.expand(batch, frames, 68, 3))


def test_the_identity_loss_is_one_minus_the_mean_cosine(tmp_path: Path) -> None:
    embed = FaceEmbedder("tiny", toy_pack(tmp_path))
    clip = _clip()
    loss = IdentityLoss(embed, frame_stride=4)
    values = loss(clip)
    expected: list[float] = []
    for i in range(2):
        assert clip.real is not None and clip.landmarks is not None
        chosen = [2, 6]  # the middle of each four
        made, real = (
            embed(frames[i, :, chosen].transpose(0, 1), clip.landmarks[i, chosen])
            for frames in (clip.made, clip.real)
        )
        expected.append(1 - (made * real).sum(dim=1).mean().item())
    torch.testing.assert_close(values, torch.tensor(expected))
    assert (values > 1e-3).all()
    values.sum().backward()
    gradient = clip.made.grad
    assert gradient is not None and gradient[:, :, [2, 6]].abs().amax() > 0
    assert not gradient[:, :, [0, 1, 3, 4, 5, 7]].any()
    same = DecodedClip(clip.real, clip.audio_features, clip.real, clip.landmarks)  # type: ignore[arg-type]
    torch.testing.assert_close(loss(same), torch.zeros(2), atol=1e-5, rtol=0)


def test_one_judge_has_one_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    marks = [
        FaceEmbedder("tiny", toy_pack(tmp_path / name, seed=seed)).fingerprint
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert marks[0] == marks[1] != marks[2]


def test_looks_are_judged_without_audio_and_with_a_reference() -> None:
    given = GivenConditions(
        torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    )
    for kind in (IdentityLoss, PerceptualLoss):
        assert kind.applies_to(kind, given).tolist() == [False, False, True, False]  # type: ignore[arg-type]


def test_a_pack_that_cannot_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'absent' is not installed.*phase\.identity\.weight=0"):
        FaceEmbedder("absent", tmp_path)
    damaged = arcface_onnx(tmp_path / "models" / "odd" / "w600k.onnx")
    import onnx

    model = onnx.load(str(damaged))
    # Its first node does nothing; one that onnxruntime knows and the gradients do not takes its place.
    model.graph.node[0].op_type = "Elu"
    onnx.save(model, str(damaged))
    with pytest.raises(UserError, match="Elu"):
        FaceEmbedder("odd", tmp_path)


# ------------------------------------------------------------------------------------- vision encoders


@pytest.mark.parametrize("kind", ["clip", "clip-vision", "siglip", "dinov2"])
def test_vision_encoders_embed_with_gradients(tmp_path: Path, kind: str) -> None:
    encoder = VisionEncoder(toy_clip(tmp_path / kind, kind))
    clip = _clip(side=48)
    loss = PerceptualLoss(EmbeddingDistance(encoder), frame_stride=2)
    values = loss(clip)
    assert values.shape == (2,) and (values > 1e-5).all()
    values.sum().backward()
    assert clip.made.grad is not None and clip.made.grad.abs().amax() > 0
    assert all(weight.grad is None for weight in encoder.model.parameters())
    same = DecodedClip(clip.real, clip.audio_features, clip.real)  # type: ignore[arg-type]
    torch.testing.assert_close(loss(same), torch.zeros(2), atol=1e-5, rtol=0)
    made = clip.made.detach()[:, :, 1::2].transpose(1, 2).flatten(0, 1)
    real = clip.real[:, :, 1::2].transpose(1, 2).flatten(0, 1)  # type: ignore[index]
    with torch.no_grad():
        cosines = torch.cosine_similarity(encoder.embed(made), encoder.embed(real))
    torch.testing.assert_close(values.detach(), (1 - cosines).view(2, 4).mean(dim=1))


def test_the_clip_part_is_the_one_that_transformers_computes(tmp_path: Path) -> None:
    from transformers import CLIPModel

    folder = toy_clip(tmp_path / "clip")
    encoder = VisionEncoder(folder)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        whole = CLIPModel.from_pretrained(folder).eval()
        vision = whole.vision_model(pixel_values=encoder.preprocessing(pictures))
        expected = whole.visual_projection(vision.pooler_output)
        torch.testing.assert_close(encoder.embed(pictures), expected)


def test_pictures_are_prepared_as_the_models_own_processor_does_it(tmp_path: Path) -> None:
    from PIL import Image

    preprocessing = load_preprocessing(toy_clip(tmp_path / "clip", side=64))
    picture = _picture(160)
    ours = preprocessing(_tensor(picture))[0]
    small = np.asarray(Image.fromarray(picture).resize((68, 68), Image.Resampling.BICUBIC), np.float32) / 255
    cut = small[2:66, 2:66]
    expected = (cut - np.array([0.48, 0.46, 0.41])) / np.array([0.27, 0.26, 0.28])
    np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), expected, atol=0.03)


def test_vision_encoders_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no vision encoder.*phase\.perceptual\.model"):
        VisionEncoder(tmp_path / "none")
    with pytest.raises(UserError, match=r"preprocessor_config\.json"):
        VisionEncoder(toy_clip(tmp_path / "bare", processor=False))
    with pytest.raises(UserError, match="visual_projection"):
        VisionEncoder(toy_clip(tmp_path / "half", "clip-unprojected"))
    wide = toy_clip(tmp_path / "wide")
    values = json.loads((wide / "preprocessor_config.json").read_text())
    (wide / "preprocessor_config.json").write_text(json.dumps({**values, "do_center_crop": False}))
    with pytest.raises(UserError, match="36"):
        VisionEncoder(wide)
    (wide / "preprocessor_config.json").write_text(json.dumps({**values, "size": {"height": 1, "width": 2}}))
    with pytest.raises(UserError, match="square"):
        VisionEncoder(wide)
    pickled = toy_clip(tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UserError, match="pickled"):
        VisionEncoder(pickled)


def test_a_processor_that_lies_nested_is_found(tmp_path: Path) -> None:
    folder = toy_clip(tmp_path / "clip")
    plain = load_preprocessing(folder)
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": values}))
    assert load_preprocessing(folder) == plain
