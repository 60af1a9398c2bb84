from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from i2fet.nn.i2fet import I2fet, Posterior, face_parameters
from i2fet.nn.ifed import Ifed, TextProjection

WIDTH = 24
OPTIONS: list[dict[str, Any]] = [
    {},
    {"exchange": "symmetric"},
    {"layers": 2, "face_encoders": 1},
    {"share_ifed": False},
    {"use_ifed": False},
    {"use_ifed": False, "share_ifed": False},
    {"prior": "flow"},
]


def inputs(batch: int = 6, latent: int = 16) -> dict[str, Tensor]:
    mask = torch.arange(9) < torch.tensor([[4], [9], [6]])
    return {
        "expression": torch.randn(batch, 2, 50),
        "pose": torch.randn(batch, 2, 6),
        "tokens": torch.randn(3, 9, WIDTH) * mask[..., None],
        "mask": mask,
        "instruction": torch.arange(batch) % 3,
        "noise": torch.randn(2, batch, 2, latent),
    }


def test_face_parameters_leave_out_the_global_rotation() -> None:
    pose = torch.arange(6.0)
    assert face_parameters(torch.zeros(50), pose)[50:].tolist() == [3, 4, 5]


def test_text_projection_ignores_padding() -> None:
    projection = TextProjection(WIDTH)
    values = inputs()
    noisy = values["tokens"].where(values["mask"][..., None], torch.randn(()) * 100)
    rows = projection(values["tokens"], values["mask"])
    assert rows.shape == (3, 2, WIDTH)
    torch.testing.assert_close(projection(noisy, values["mask"]), rows)


def test_text_projection_equals_softmax_pooling() -> None:
    projection = TextProjection(WIDTH, rows=2, heads=3)
    values = inputs()
    tokens = projection.norm(values["tokens"][0, :4])
    weights = (projection.queries @ tokens.T / WIDTH**0.5).softmax(dim=1)
    expected = projection.output((weights @ tokens).view(2, 3 * WIDTH))
    result = projection(values["tokens"], values["mask"])[0]
    torch.testing.assert_close(result, expected)


def test_projected_rows_keep_the_order_of_the_tokens() -> None:
    projection = TextProjection(WIDTH)
    rows = projection(torch.randn(1, 5, WIDTH), torch.ones(1, 5, dtype=torch.bool))
    assert not torch.allclose(rows[:, 0], rows[:, 1], atol=1e-2)


def test_ifed_is_equation_3_and_4() -> None:
    ifed = Ifed(WIDTH)
    face, text = torch.randn(4, 2, 53), torch.randn(4, 2, WIDTH)
    fused_face, fused_text = ifed.caft(face, text)
    fused = torch.cat(
        [
            nn.functional.layer_norm(fused_text, (WIDTH,)),
            nn.functional.layer_norm(fused_face, (53,)),
        ],
        dim=-1,
    )
    expression, pose = ifed(face, text)
    torch.testing.assert_close(expression, ifed.expression(fused))
    torch.testing.assert_close(pose, ifed.pose(fused))
    assert (expression.shape, pose.shape) == ((4, 2, 50), (4, 2, 6))


def test_posterior_sample_has_its_moments() -> None:
    mean, log_variance = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -2.0])
    noise = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    sample = Posterior(mean, log_variance).sample(noise)
    torch.testing.assert_close(sample.mean(dim=0), mean, atol=0.02, rtol=0)
    torch.testing.assert_close(sample.var(dim=0), log_variance.exp(), rtol=0.02, atol=0)


@pytest.mark.parametrize("options", OPTIONS)
def test_shapes_and_gradients_of_every_parameter(options: dict[str, Any]) -> None:
    model = I2fet(WIDTH, hidden=16, **options)
    output = model(**inputs())
    assert output.expression.shape == (6, 2, 50)
    assert output.pose.shape == (6, 2, 6)
    assert output.expression_posterior.mean.shape == (6, 2, 16)
    tensors = (output.expression, output.pose, *output.expression_posterior, *output.pose_posterior)
    total = torch.stack([tensor.square().sum() for tensor in tensors]).sum()
    if model.prior is not None:
        noise = torch.randn_like(output.latents)
        total = total + model.prior.error(output.latents, output.text, noise, torch.rand(6))
    total.backward()
    dead = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    without_ifed = {
        f"{vae}_vae.project_latent.{kind}"
        for vae in ("expression", "pose")
        for kind in ("weight", "bias")
    }
    assert dead == (set() if options.get("use_ifed", True) else without_ifed)


def test_global_rotation_reaches_the_pose_alone() -> None:
    model = I2fet(WIDTH, hidden=16)
    values = inputs()
    turned = values | {"pose": values["pose"] + torch.tensor([1.0, 1, 1, 0, 0, 0])}
    before, after = model(**values), model(**turned)
    torch.testing.assert_close(after.expression_posterior, before.expression_posterior)
    assert not torch.allclose(after.pose_posterior.mean, before.pose_posterior.mean)


def test_rows_of_a_batch_do_not_meet() -> None:
    model = I2fet(WIDTH, hidden=16)
    values = inputs()
    one = {key: value[4:5] for key, value in values.items() if key in ("expression", "pose")}
    row = int(values["instruction"][4])
    one |= {key: values[key][row : row + 1] for key in ("tokens", "mask")}
    one |= {"instruction": torch.zeros(1, dtype=torch.long), "noise": values["noise"][:, 4:5]}
    torch.testing.assert_close(
        model(**one).expression, model(**values).expression[4:5], rtol=1e-4, atol=1e-5
    )


def test_generation_decodes_the_prior_as_training_does() -> None:
    model = I2fet(WIDTH, hidden=16, share_ifed=False)
    values = inputs()
    with torch.no_grad():
        last = model.expression_vae.encoder[-1]
        assert isinstance(last, nn.Linear)
        for vae in (model.expression_vae, model.pose_vae):
            for parameter in vae.encoder[-1].parameters():
                parameter.zero_()
    output = model(**values)
    text = {key: values[key] for key in ("tokens", "mask", "instruction", "noise")}
    expression, pose = model.generate(**text)
    torch.testing.assert_close(expression, output.expression)
    torch.testing.assert_close(pose, output.pose)


def test_shared_ifed_is_half_of_two() -> None:
    def size(share: bool) -> int:
        return sum(p.numel() for p in I2fet(WIDTH, share_ifed=share).parameters())

    assert size(False) - size(True) == sum(p.numel() for p in Ifed(WIDTH).parameters())
