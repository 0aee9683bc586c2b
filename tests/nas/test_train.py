"""The training loop: what it yields, what it refuses, and that a resumed run is the uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from nas.ema import Ema
from nas.errors import TrainingError
from nas.recipe import Recipe
from nas.train import State, Stopped, score, train, uses_bf16
from tests.nas.toy import TASK, batches, toy

RECIPE = Recipe(epochs=4, batch=2, lr=0.01, ema=0.9, precision="fp32")


def run(network: Any, recipe: Recipe = RECIPE, **more: Any) -> list[dict[str, Any]]:
    return list(
        train(network, TASK, batches, recipe, steps_per_epoch=3, seed=1, device="cpu", **more)
    )


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_one_row_per_epoch_and_the_loss_falls() -> None:
    rows = run(toy())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert all(set(row) == {"epoch", "loss", "lr", "seconds", "images"} for row in rows)
    assert rows[0]["images"] == 6
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_same_seed_same_weights() -> None:
    a, b = toy(), toy()
    torch.manual_seed(5)
    run(a)
    torch.manual_seed(6)
    run(b)
    assert equal(a.state_dict(), b.state_dict())


def test_the_seed_reaches_dropout_and_leaves_the_global_generator_alone() -> None:
    a, b = toy(dropout=0.5), toy(dropout=0.5)
    before = torch.random.get_rng_state()
    run(a)
    list(train(b, TASK, batches, RECIPE, steps_per_epoch=3, seed=2, device="cpu"))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not equal(a.state_dict(), b.state_dict())


@pytest.mark.parametrize(
    "recipe", [RECIPE, replace(RECIPE, optimizer="sgd", ema=0.0), replace(RECIPE, precision="bf16")]
)
@pytest.mark.parametrize("at", [1, 3, 4])
def test_resumed_equals_uninterrupted(recipe: Recipe, at: int) -> None:
    states: list[State] = []
    whole = toy()
    rows = run(whole, recipe, keep=states.append)
    resumed = toy(seed=99)
    rest = run(resumed, recipe, start=states[at - 1])
    assert equal(whole.state_dict(), resumed.state_dict())
    assert [(r["epoch"], r["loss"]) for r in rest] == [(r["epoch"], r["loss"]) for r in rows[at:]]


def test_final_weights_are_the_average() -> None:
    states: list[State] = []
    network = toy()
    run(network, keep=states.append)
    assert states[-1].ema is not None
    assert equal(network.state_dict(), states[-1].ema)
    assert not equal(network.state_dict(), states[-1].network)


def test_ema_is_its_formula() -> None:
    network = toy()
    ema = Ema(network, 0.5)
    expected = network.conv.weight.detach().double().clone()
    for step in range(12):
        with torch.no_grad():
            network.conv.weight.add_(step)
            network.norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        ema.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.conv.weight.detach().double()
    torch.testing.assert_close(ema.values["conv.weight"].double(), expected)
    assert ema.values["norm.num_batches_tracked"] == 12
    assert torch.equal(ema.values["norm.running_var"], network.state_dict()["norm.running_var"])


def test_stopped_carries_the_finished_epochs() -> None:
    asked = iter([False] * 7 + [True])
    with pytest.raises(Stopped) as stopped:
        run(toy(), stop=lambda: next(asked))
    assert [row["epoch"] for row in stopped.value.epochs] == [1, 2]


def test_nan_names_its_step() -> None:
    def poisoned(epoch: int) -> Any:
        for i, (images, target) in enumerate(batches(epoch)):
            yield (images * float("nan") if (epoch, i) == (1, 1) else images), target

    with pytest.raises(TrainingError, match=r"loss is nan at step 5 of 12 \(epoch 2\)"):
        list(train(toy(), TASK, poisoned, RECIPE, steps_per_epoch=3, seed=1, device="cpu"))


def test_too_few_batches_are_refused() -> None:
    with pytest.raises(TrainingError, match="gave 3 batches, expected 4"):
        list(train(toy(), TASK, batches, RECIPE, steps_per_epoch=4, seed=1, device="cpu"))
    with pytest.raises(TrainingError, match="smaller batch"):
        list(train(toy(), TASK, batches, RECIPE, steps_per_epoch=0, seed=1, device="cpu"))


def test_the_source_of_batches_is_closed() -> None:
    closed: list[int] = []

    def endless(epoch: int) -> Any:
        try:
            while True:
                yield from batches(epoch)
        finally:
            closed.append(epoch)

    list(train(toy(), TASK, endless, RECIPE, steps_per_epoch=5, seed=1, device="cpu"))
    assert closed == [0, 1, 2, 3]


def test_clipping_bounds_the_first_step() -> None:
    recipe = Recipe(
        epochs=1,
        optimizer="sgd",
        lr=1.0,
        momentum=0.0,
        weight_decay=0.0,
        warmup=0.0,
        clip=0.001,
        precision="fp32",
    )
    network = toy()
    before = [p.detach().clone() for p in network.parameters()]
    list(
        train(
            network, TASK, lambda _: batches(0, 1), recipe, steps_per_epoch=1, seed=1, device="cpu"
        )
    )
    moved = torch.cat(
        [(p - b).flatten() for p, b in zip(network.parameters(), before, strict=True)]
    ).norm()
    assert float(moved.detach()) == pytest.approx(0.001, rel=1e-3)


def test_auxiliary_heads_are_weighted() -> None:
    network = toy(dropout=0.0).train()
    images, target = next(batches(0))
    output = network(images)
    main, aux = (
        TASK.loss(output._replace(logits=x, aux={}), target, RECIPE)
        for x in (output.logits, output.aux["aux"])
    )
    total = TASK.loss(output, target, replace(RECIPE, aux_weight=0.3))
    torch.testing.assert_close(total, main + 0.3 * aux)


def test_batch_of_one_on_one_pixel_says_what_to_do() -> None:
    source = lambda _: iter([(torch.zeros(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))])  # noqa: E731
    with pytest.raises(TrainingError, match="batch of at least 2"):
        list(train(toy(), TASK, source, RECIPE, steps_per_epoch=1, seed=1, device="cpu"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_says_what_to_do(error: RuntimeError) -> None:
    class Huge(type(toy())):  # type: ignore[misc]
        def forward(self, image: torch.Tensor) -> Any:
            raise error

    with pytest.raises(
        TrainingError, match="out of memory with a batch of 2; choose a smaller batch or crop"
    ):
        run(Huge())


def test_other_errors_of_a_network_pass_through() -> None:
    class Wrong(type(toy())):  # type: ignore[misc]
        def forward(self, image: torch.Tensor) -> Any:
            return image @ torch.zeros(7, 7)

    with pytest.raises(RuntimeError, match="size"):
        run(Wrong())


def test_score_keeps_the_mode() -> None:
    network = toy().train()
    result = score(network, TASK, batches(0))
    assert network.training
    assert set(result) == {"miou", "iou", "pixel_accuracy"}


def test_precision_is_what_the_recipe_says() -> None:
    cpu = torch.device("cpu")
    assert uses_bf16(replace(RECIPE, precision="bf16"), cpu)
    assert not uses_bf16(RECIPE, cpu)
    assert uses_bf16(replace(RECIPE, precision="auto"), cpu) == uses_bf16(
        replace(RECIPE, precision="auto"), cpu
    )
