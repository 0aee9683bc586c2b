"""Candidates that run as one give what each of them gives by itself: values, gradients and running statistics."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas import registry
from nas.layered import Layered
from nas.parts import Step
from nas.relax.chains import Chain
from nas.relax.constants import constant
from nas.relax.depthwise import Lanes, Taps, depthwise
from nas.relax.forms import Depthwise, form, forms, loose
from nas.relax.gates import MIX, questions, takes_what_is_there
from nas.relax.network import RelaxedNetwork
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.pointwise import pointwise
from nas.relax.runs import RunChains, RunLeaf, Weights
from nas.relax.stacks import beside, stacked
from nas.relax.weights import ArchitectureParameters
from tests.nas.relax.spaces import SIZE, TEXTS, Relaxed, relaxed
from tests.nas.relax.test_equations import shortened

ODD = (45, 71)


def by_step(
    case: Relaxed, network: RelaxedNetwork, image: Tensor, weights: Weights
) -> list[Tensor]:
    """Return logits and auxiliary ones, each step that is needed run by its own module, one after another."""
    steps, outputs = case.plan.steps(network.training)
    values: dict[int, Tensor] = {0: image}
    for step, inputs in needed(steps, set(outputs.values()), weights):
        module, xs = network.place(step), [values[v] for v in inputs if v is not None]
        if module is None:
            gates = step.leaf.fields["gates"]
            pairs = [(values[v], g) for v, g in zip(inputs, gates, strict=True) if v is not None]
            terms = [x * prod(weights[path][i] for path, i in gate) for x, gate in pairs]
            values[step.output] = sum(terms[1:], terms[0])
        else:
            zeros = torch.zeros_like(xs[0])
            filled = [zeros if v is None else values[v] for v in inputs]
            values[step.output] = step.leaf.call(module, filled)
    return [values[v] for v in outputs.values()]


def needed(
    steps: Sequence[Step], outputs: set[int], weights: Weights
) -> list[tuple[Step, list[int | None]]]:
    """Return the steps that something comes to and that an output needs, with the inputs that are there."""
    alive, found = {0}, []
    for step in steps:
        gates = step.leaf.fields.get("gates", [()] * len(step.inputs))
        inputs = [
            v if v in alive and not any(is_zero(weights[path][i]) for path, i in gate) else None
            for v, gate in zip(step.inputs, gates, strict=True)
        ]
        some = step.leaf.kind.name == MIX or takes_what_is_there(step.leaf)
        if any(v is not None for v in inputs) if some else None not in inputs:
            alive.add(step.output)
            found.append((step, inputs))
    wanted, kept = set(outputs), []
    for step, inputs in reversed(found):
        if step.output in wanted:
            wanted.update(v for v in inputs if v is not None)
            kept.append((step, inputs))
    return kept[::-1]


def is_zero(weight: float | Tensor) -> bool:
    return not isinstance(weight, Tensor) and weight == 0


def short() -> Relaxed:
    """Auto-DeepLab's space, but for three steps and two blocks."""
    space = shortened(3, 2)
    tree = opened(space)
    asked = {q.path: q for q in questions(tree)}
    return Relaxed(space, RelaxedPlanner(ODD).plan(tree), asked)


def case_of(name: str) -> Relaxed:
    return short() if name == "auto_deeplab" else relaxed(name)


def both(
    case: Relaxed, size: tuple[int, int], *, training: bool = True, left_out: float = 0.0
) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    """Yield all that a step in double precision computes, batched and step by step; `left_out` of the options have
    the number 0."""
    torch.manual_seed(0)
    network = RelaxedNetwork(case.plan).double().train(training)
    for dropout in (m for m in network.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0  # classifiers may run in another order
    other = copy.deepcopy(network)
    parameters = ArchitectureParameters(case.asked.values()).double()
    with torch.no_grad():
        for logits in parameters.logits:
            logits.normal_()
    image = torch.randn(2, 3, *size, dtype=torch.double)
    zeros = torch.Generator().manual_seed(7)
    pattern = {
        path: (torch.rand(len(q.labels), generator=zeros) < left_out).tolist()
        for path, q in case.asked.items()
    }

    def weights() -> Weights:
        found = parameters.softmax()
        return {
            p: [0.0 if out else w for w, out in zip(given, pattern[p], strict=True)]
            for p, given in found.items()
        }

    torch.manual_seed(1)
    result = network(image, weights())
    ours = [result.logits, *result.aux.values()] if training else [result]
    mine = _gradients(ours, network, parameters)
    torch.manual_seed(1)
    theirs = by_step(case, other, image, weights())
    yield from ((f"output {i}", a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True)))
    known = _gradients(theirs, other, parameters)
    yield from ((name, mine[name], known[name]) for name in known)
    state = other.state_dict()
    often = Counter(id(network.place(step)) for step in case.plan.steps(training)[0])
    free = {  # of a module that runs several times, statistics depend on which time was last
        id(t) for m in network.modules() if often[id(m)] > 1 for t in m.buffers()
    }
    named = [name for name, t in network.named_buffers() if id(t) not in free]
    yield from ((name, network.get_buffer(name), state[name]) for name in named)


def _gradients(
    outputs: Sequence[Tensor], network: nn.Module, parameters: ArchitectureParameters
) -> dict[str, Tensor | None]:
    named = {f"gradient of {n}": p for n, p in network.named_parameters()}
    named |= {q.path: p for q, p in zip(parameters.questions, parameters.logits, strict=True)}
    total = torch.stack([output.square().mean() for output in outputs]).sum()
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return dict(zip(named, found, strict=True))


def assert_equal(found: Iterator[tuple[str, Tensor | None, Tensor | None]]) -> None:
    for name, ours, theirs in found:
        assert (ours is None) == (theirs is None), name
        if ours is not None and theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("size", [SIZE, ODD])
@pytest.mark.parametrize("name", [*TEXTS, "auto_deeplab"])
def test_a_step_is_that_of_candidates_run_by_themselves(name: str, size: tuple[int, int]) -> None:
    assert_equal(both(case_of(name), size))


@pytest.mark.parametrize("name", ["cells", "trellis", "auto_deeplab"])
def test_so_it_is_where_some_options_are_left_out_and_what_they_leave_alone(name: str) -> None:
    assert_equal(both(case_of(name), ODD, left_out=0.3))


@pytest.mark.parametrize("name", ["cells", "trellis"])
def test_so_it_is_in_evaluation(name: str) -> None:
    assert_equal(both(case_of(name), ODD, training=False))


def test_candidates_are_batched() -> None:
    """Kernels are rows of a chain, cells that are in step its inputs, and the blocks that read a state its columns."""
    case = short()
    network = RelaxedNetwork(case.plan).train()
    program = network._train.everything()
    lanes = {chain.lanes for chain in program.chains}
    assert any(rows == 2 and inputs > 1 and columns == 2 for rows, inputs, columns in lanes)
    kinds = Counter(step.leaf.kind.name for step in case.plan.steps(training=True)[0])
    alone = {run.step.leaf.kind.name for run, _ in program.runs if isinstance(run, RunLeaf)}
    assert not alone & {"double_separable", "atrous"}
    batched = sum(chain.lanes.number for chain in program.chains)
    assert batched >= kinds["double_separable"] + kinds["atrous"]
    runs = [run for run, _ in program.runs if isinstance(run, RunChains)]
    assert sum(len(run.chains) for run in runs) == len(program.chains) < batched


def test_numbers_run_every_leaf_by_itself() -> None:
    case = relaxed("trellis")
    network = RelaxedNetwork(case.plan).train()
    numbers = {path: [0.5] * len(q.labels) for path, q in case.asked.items()}
    chosen, program = network._train.choose(numbers), network._train.program(numbers)
    assert not program.chains
    leaves = [c.step.output for c in chosen if c.step.leaf.kind.name != MIX]
    alone = [run.step.output for run, _ in program.runs if isinstance(run, RunLeaf)]
    assert sorted(alone) == leaves


def stacks_of(network: RelaxedNetwork) -> Iterator[tuple[Chain, list[Tensor]]]:
    for chain in network._train.everything().chains:
        for layers, name in (*chain.parameters, *chain.buffers):
            yield chain, [getattr(layer, name) for layer in layers]


def test_what_is_computed_together_lies_side_by_side_also_once_moved() -> None:
    network = RelaxedNetwork(relaxed("trellis").plan)
    assert all(beside(tensors) is not None for _, tensors in stacks_of(network))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.double()
    assert all(beside(tensors) is not None for _, tensors in stacks_of(network))
    assert all(
        torch.equal(v.float(), before[k])
        for k, v in network.state_dict().items()
        if v.is_floating_point()
    )


def test_parameters_given_in_place_of_its_own_are_used() -> None:
    """By `functional_call`, as look-aheads do: others lie nowhere near each other."""
    case = relaxed("trellis")
    network, other = (RelaxedNetwork(case.plan).eval() for _ in range(2))
    weights = ArchitectureParameters(case.asked.values()).softmax()
    image = torch.randn(1, 3, *ODD)
    state: Mapping[str, Tensor] = {k: v.clone() for k, v in other.state_dict().items()}
    found = functional_call(network, dict(state), (image, weights))
    torch.testing.assert_close(found, other(image, weights))
    assert not torch.allclose(found, network(image, weights))


def test_stacks_are_views_where_they_can_be_and_hand_gradients_on() -> None:
    flat = torch.arange(12.0).view(3, 4)
    rows = [nn.Parameter(torch.empty(4)) for _ in range(3)]
    for row, values in zip(rows, flat, strict=True):
        row.data = values
    joined, apart = stacked([rows, [rows[2], rows[0]]])
    assert joined.data_ptr() == flat.data_ptr()
    assert torch.equal(joined, flat.view(-1))
    assert torch.equal(apart, torch.cat([flat[2], flat[0]]))
    (joined.sum() + 2 * apart[:4].sum()).backward()
    assert [row.grad.tolist() for row in rows if row.grad is not None] == [
        [1.0] * 4,
        [1.0] * 4,
        [3.0] * 4,
    ]
    assert beside([rows[1], rows[0]]) is None
    assert beside([torch.zeros(4), torch.zeros(4)]) is None


LANES = [Lanes(1, 1, 1), Lanes(2, 1, 2), Lanes(1, 2, 3), Lanes(2, 2, 1)]


@pytest.mark.parametrize("taps", [Taps(1, 1), Taps(2, 1), Taps(1, 2), Taps(2, 3)])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("follows", [False, True])
def test_depthwise_gradients_are_finite_differences(
    lanes: Lanes, taps: Taps, follows: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, lanes.inputs * 2, 4, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(lanes.number * 2, 1, 3, 3, dtype=torch.double, requires_grad=True)
    after = torch.randn(lanes.number, 3, 2, dtype=torch.double, requires_grad=True)
    given = (x, weight, after) if follows else (x, weight)

    def run(x: Tensor, weight: Tensor, after: Tensor | None = None) -> Tensor:
        return depthwise(x, weight, after, lanes, taps)

    assert torch.autograd.gradcheck(run, given)
    if lanes.number <= 4:
        assert torch.autograd.gradgradcheck(run, given)


@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_pointwise_gradients_are_finite_differences(size: tuple[int, int]) -> None:
    """Of maps smaller and larger than matrices, which are multiplied in different layouts."""
    torch.manual_seed(0)
    x = torch.randn(2, 3 * 5, *size, dtype=torch.double, requires_grad=True)
    matrices = torch.randn(3, 4, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(pointwise, (x, matrices))
    assert torch.autograd.gradgradcheck(pointwise, (x, matrices))
    expected = nn.functional.conv2d(x, matrices.reshape(12, 5, 1, 1), groups=3)
    torch.testing.assert_close(pointwise(x, matrices), expected)


def test_weights_may_be_constants_while_the_architecture_learns() -> None:
    case = relaxed("trellis")
    network, image = RelaxedNetwork(case.plan).train(), torch.randn(2, 3, *ODD)
    parameters = ArchitectureParameters(case.asked.values())
    frozen = network.place(case.plan.steps()[0][0])
    assert frozen is not None
    frozen.requires_grad_(False)
    flags = [p.requires_grad for p in network.parameters()]

    def gradients() -> tuple[Tensor, ...]:
        torch.manual_seed(5)
        value = network(image, parameters.softmax()).logits.square().mean()
        return torch.autograd.grad(value, list(parameters.logits))

    with constant(network.parameters()):
        found = gradients()
    assert [p.requires_grad for p in network.parameters()] == flags
    for ours, theirs in zip(found, gradients(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_forms_tell_what_can_run_as_one() -> None:
    registry.load()
    relu, conv, norm = nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
    assert (
        form(conv)
        == form(nn.Conv2d(4, 4, 3, padding=1, bias=False))
        != form(nn.Conv2d(4, 4, 1, bias=False))
    )
    assert form(nn.MaxPool2d(3)) == form(nn.MaxPool2d(3)) != form(nn.MaxPool2d(2))
    alone = [
        nn.Dropout(),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4, affine=False),
        nn.GroupNorm(2, 4),
        nn.Sequential(relu),
    ]
    assert not any(form(layer) for layer in alone)
    assert forms([relu, conv, norm]) is not None
    assert forms([relu]) is None  # nothing to stack: what only repeats runs once anyway
    assert (
        forms([conv, nn.Softmax(1)]) is None
    )  # which would mix the channels of several candidates
    small, large = (nn.Conv2d(4, 4, k, padding=k // 2, groups=4, bias=False) for k in (3, 5))
    assert isinstance(form(small), Depthwise)
    assert form(small) != form(large)
    assert loose(forms([small]) or ()) == loose(forms([large]) or ())


def test_layers_are_all_that_a_layered_block_has() -> None:
    registry.load()
    makes = [k.make for k in registry.KINDS.values() if k.is_leaf and issubclass(k.make, Layered)]  # type: ignore[arg-type]
    assert len(makes) >= 7
    assert all(make.forward is Layered.forward for make in makes)  # type: ignore[attr-defined]
    for make in makes:
        place = {"width": 6, "stride": 2}
        block: Any = make(
            4, **{**place, **({"take": "average"} if "Pool" in make.__name__ else {})}
        )
        held = {id(t) for layer in block.layers() for t in (*layer.parameters(), *layer.buffers())}
        assert held == {id(t) for t in (*block.parameters(), *block.buffers())}
