"""A relaxed network at a one-hot is the closed network; what has no weight is not run and learns nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nas import registry
from nas.architecture import Architecture
from nas.errors import PlanError
from nas.network import Network, build
from nas.relax.network import RelaxedNetwork, Weights, closed_name
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.weights import ArchitectureParameters, one_hot
from nas.space import parse
from tests.nas.relax.spaces import SIZE, TEXTS, Relaxed, relaxed, text


def drawn(case: Relaxed, number: int) -> list[tuple[Architecture, Weights]]:
    """Return architectures that some image reaches, with their weights."""
    found = []
    for seed in range(4 * number):
        architecture, decisions = case.draw(seed)
        try:
            build(architecture, SIZE)
        except PlanError:
            continue
        found.append((architecture, one_hot(case.asked, decisions)))
    return found[:number]


def closed_twin(network: RelaxedNetwork, architecture: Architecture, weights: Weights) -> Network:
    """Return the closed network with the relaxed one's parameters."""
    state = {
        f"{closed_name(step.name)}.{key}": value
        for step in network.chosen(weights)
        if (module := network.place(step)) is not None
        for key, value in module.state_dict().items()
    }
    twin = build(architecture, SIZE)
    twin.load_state_dict(state)  # strict: what runs is what is closed, name by name
    return twin


@pytest.mark.parametrize("name", TEXTS)
def test_at_a_one_hot_it_is_the_closed_network(name: str) -> None:
    case = relaxed(name)
    torch.manual_seed(0)
    network, image = RelaxedNetwork(case.plan).eval(), torch.randn(2, 3, *SIZE)
    pairs = drawn(case, 12)
    assert len(pairs) == 12
    for architecture, weights in pairs:
        twin = closed_twin(network, architecture, weights).eval()
        with torch.no_grad():
            assert torch.equal(network(image, weights), twin(image))


def test_what_has_no_weight_is_not_run() -> None:
    case = relaxed("cells")
    torch.manual_seed(0)
    network = RelaxedNetwork(case.plan).train()
    _, weights = drawn(case, 1)[0]
    ran = {
        id(p)
        for s in network.chosen(weights)
        for p in (network.place(s) or nn.Identity()).parameters()
    }
    before = {k: v.clone() for k, v in network.state_dict().items()}
    network(torch.randn(2, 3, *SIZE), weights).logits.mean().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in ran), name
    moved = {
        k.rpartition(".")[0]
        for k, v in network.state_dict().items()
        if not torch.equal(v, before[k])
    }
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert moved == {n for n in norms if id(network.get_submodule(n).weight) in ran}
    assert moved < norms


def test_a_softmax_mixture_is_the_weighted_sum_of_its_candidates() -> None:
    """One choice, so that the sum can be written out: logits are linear in the mixture (a 1x1 follows)."""
    registry.load()
    tree = opened(parse(text("{head: {fcn: {convs: 0, finest: 16}}}", STEM)))
    torch.manual_seed(0)
    network = RelaxedNetwork(RelaxedPlanner(SIZE).plan(tree)).eval()
    image, path = torch.randn(2, 3, *SIZE), "encoder.stages.stages[2].blocks[0].conv.kernel"
    mixed = network(image, {path: torch.tensor([0.2, 0.3, 0.5]).unbind()})
    each = [network(image, {path: [float(i == k) for i in range(3)]}) for k in range(3)]
    expected = 0.2 * each[0] + 0.3 * each[1] + 0.5 * each[2]
    torch.testing.assert_close(mixed, expected)


STEM = """[{width: 8, blocks: [{conv: {}}]}, {width: 8, blocks: [{conv: {}}]},
  {width: 8, blocks: [{conv: {kernel: {choice: [1, 3, 5]}}}]}]"""


def test_sampled_weights_run_one_option_and_teach_all() -> None:
    case = relaxed("cells")
    parameters = ArchitectureParameters(case.asked.values())
    weights = parameters.gumbel(1.0, torch.Generator().manual_seed(3))
    for given in weights.values():
        (chosen,) = [w for w in given if isinstance(w, torch.Tensor)]
        assert chosen.item() == 1
        assert all(w == 0 for w in given if not isinstance(w, torch.Tensor))
    network = RelaxedNetwork(case.plan).train()
    network(torch.randn(2, 3, *SIZE), weights).logits.square().mean().backward()
    pairs = zip(parameters.questions, parameters.logits, strict=True)
    taught = [q.path for q, p in pairs if p.grad is not None and p.grad.any()]
    assert "encoder.stages.stages[0].blocks[0]" in taught
    assert "encoder.stages.stages[2].blocks[0].conv.kernel" in taught


def test_every_architecture_parameter_gets_a_gradient_from_the_mixture() -> None:
    case = relaxed("pyramid")
    parameters = ArchitectureParameters(case.asked.values())
    network = RelaxedNetwork(case.plan).train()
    network(torch.randn(2, 3, *SIZE), parameters.softmax()).logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in parameters.logits)


def test_what_only_repeats_runs_once() -> None:
    """Three blocks may pool what two cells gave, and items: each state is pooled once."""
    case = relaxed("trellis")
    network = RelaxedNetwork(case.plan)
    weights = ArchitectureParameters(case.asked.values()).softmax()
    ran = network.chosen(weights)
    pools = [(step.leaf.key, step.inputs) for step in ran if step.leaf.kind.name == "pool"]
    planned = [step for step in case.plan.steps()[0] if step.leaf.kind.name == "pool"]
    assert len(pools) == len(set(pools)) < len(planned)


def test_no_way_to_an_output_is_said() -> None:
    case = relaxed("cells")
    network = RelaxedNetwork(case.plan).eval()
    nothing: Any = {path: [0.0] * len(q.labels) for path, q in case.asked.items()}
    with pytest.raises(ValueError, match="outputs are reached by no image"):
        network(torch.randn(1, 3, *SIZE), nothing)


FIELDS = "{kernel: {choice: [3, 5, 7]}, expand: {choice: [1, 2, 3]}, se: {choice: [0, 0.25]}}"
NOT_MIXED = {
    "width: {choice: [8, 16]}, blocks: [{conv: {}}]": r"stages\[0\]\.width.*\[8, 16\] channels.*--fix",
    "width: 8, blocks: {repeat: {choice: [1, 2]}, of: {conv: {}}}": r"blocks\.repeat.*cannot be mixed.*--fix",
    f"width: 8, blocks: [{{mbconv: {FIELDS}}}]": r"18 ways.*at most 16.*--fix",
}


@pytest.mark.parametrize("stage", NOT_MIXED)
def test_what_cannot_be_mixed_is_named_with_what_to_do(stage: str) -> None:
    registry.load()
    space = parse(text("{head: {fcn: {width: 8}}}", f"[{{{stage}}}]"))
    with pytest.raises(PlanError, match=NOT_MIXED[stage]):
        RelaxedPlanner(SIZE).plan(opened(space))
