"""Plans: sharing, dead nodes, names, sizes, errors; each on kinds of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.flop_counter import FlopCounterMode

from nas import memo, registry
from nas.errors import PlanError
from nas.fields import Odd, Place, Spec
from nas.language.tree import Choice
from nas.network import Network, Output
from nas.parts import Part
from nas.plan import Feature, Net, Plan, Planner
from nas.registry import kind


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: C901 (a list of definitions)
    """A registry of this file's own: leaves, composites and a root."""
    monkeypatch.setattr(registry, "KINDS", {})

    @kind("conv", "cell")
    class Conv(nn.Module):
        def __init__(
            self, channels: int, *, width: Place[int], stride: Place[int] = 1, kernel: Odd = 3
        ) -> None:
            super().__init__()
            if width % 2:
                raise ValueError(f"width must be even, got {width}")
            self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)  # type: ignore[no-any-return]

    @kind("unpadded", "cell")
    class Unpadded(nn.Conv2d):
        def __init__(self, channels: int, *, width: Place[int], stride: Place[int] = 1) -> None:
            super().__init__(channels, width, 3, stride)

    @kind("sum")
    class Sum(nn.Module):
        def __init__(self, channels: tuple[int, ...]) -> None:
            super().__init__()

        def forward(self, *xs: Tensor) -> Tensor:
            return sum(xs[1:], start=xs[0])

    @kind("fuse")
    class Fuse(nn.Module):
        def __init__(self, channels: dict[str, int], *, width: Place[int]) -> None:
            super().__init__()
            self.source = nn.ModuleDict(
                {name: nn.Conv2d(c, width, 1) for name, c in channels.items()}
            )

        def forward(self, xs: dict[str, Tensor]) -> Tensor:
            return torch.stack([self.source[name](x) for name, x in xs.items()]).sum(0)

    @kind("resize")
    class Resize(nn.Module):
        def __init__(self, channels: tuple[int, ...], *, to: Place[int]) -> None:
            super().__init__()
            self.to_stride = to

        def forward(self, x: Tensor, image: Tensor) -> Tensor:
            size = [(n - 1) // self.to_stride + 1 for n in image.shape[2:]]
            return interpolate(x, size=size, mode="bilinear", align_corners=False)

    @kind("zero", "cell")
    def zero(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        return net.nothing(Feature(width, x.stride * stride, ref=x.ref))

    @kind("pair", "cell")
    def pair(
        net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1, of: Spec
    ) -> dict[str, Feature]:
        wide = net.add("first", of, x, width=width, stride=stride)
        return {"first": wide, "second": net.add("second", of, wide, width=width)}

    @kind("network", "root")
    def network(
        net: Net, *, body: Spec, twice: bool = False, aux: bool = False
    ) -> dict[str, Feature]:
        a = net.add("a", {"pair": {"of": body}}, net.image, width=4, stride=2)
        x = a["second"]
        if twice:
            b = net.add("b", {"pair": {"of": body}}, net.image, width=4, stride=2)
            x = net.mix("join", x, b["first"])
        outputs = {"logits": net.resize("logits", x, 1)}
        if aux:
            outputs["aux"] = net.resize("aux", net.add("aux", {"conv": {}}, a["first"], width=2), 1)
        return outputs


CONV = {"conv": {"kernel": 3}}
SIZE = (33, 21)


def flops(network: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of the whole network, counted by torch on the meta device."""
    with FlopCounterMode(display=False) as counter:
        network.to("meta").eval()(torch.empty(1, 3, *size, device="meta"))
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(
    "tree", [{"body": CONV}, {"body": CONV, "twice": True}, {"body": CONV, "aux": True}]
)
def test_costs_are_those_of_the_network(tree: Mapping[str, Any]) -> None:
    plan = Planner(SIZE).plan(tree)
    network = Network(plan)
    unneeded = [p for name, p in network.named_parameters() if name.startswith("aux")]
    assert plan.params == sum(p.numel() for p in network.parameters()) - sum(
        p.numel() for p in unneeded
    )
    assert plan.macs == flops(network, SIZE)


@pytest.mark.parametrize("size", [(33, 21), (64, 64), (1, 1), (7, 90)])
def test_any_size_runs_whatever_size_was_planned(size: tuple[int, int]) -> None:
    network = Network(Planner(SIZE).plan({"body": CONV, "twice": True})).eval()
    assert network(torch.zeros(2, 3, *size)).shape == (2, 4, *size)


def test_training_returns_auxiliary_outputs_and_evaluation_none() -> None:
    network = Network(Planner(SIZE).plan({"body": CONV, "aux": True}))
    output = network(torch.zeros(2, 3, *SIZE))
    assert isinstance(output, Output)
    assert output.aux["aux"].shape == (2, 2, *SIZE)
    assert torch.equal(network.eval()(torch.zeros(2, 3, *SIZE)), output.logits)


def test_what_nothing_needs_is_not_built() -> None:
    names = {
        name
        for name, _ in Network(Planner(SIZE).plan({"body": CONV, "twice": True})).named_parameters()
    }
    assert not any("b.pair.second" in name for name in names)
    assert "b.pair.first.conv.conv.weight" in names


def test_a_recurring_part_is_planned_once() -> None:
    planner = Planner(SIZE)
    root = planner.plan({"body": CONV, "twice": True}).root
    assert root.bodies[0] is root.bodies[1]


def test_digest_tells_networks_apart_and_sees_through_dead_nodes() -> None:
    def digest(**tree: Any) -> str:
        return Planner(SIZE).plan(tree).digest

    assert digest(body=CONV) == digest(body=CONV, aux=True)
    assert digest(body=CONV) != digest(body=CONV, twice=True)
    assert digest(body=CONV) != digest(body={"conv": {"kernel": 5}})


def test_digest_does_not_depend_on_the_input_size() -> None:
    assert (
        Planner((64, 64)).plan({"body": CONV}).digest
        == Planner((33, 21)).plan({"body": CONV}).digest
    )


def test_a_network_without_a_path_is_refused() -> None:
    with pytest.raises(PlanError, match=r"'logits'.*zero"):
        Planner(SIZE).plan({"body": {"zero": {}}})


def test_unknown_kind_names_the_closest_and_the_path() -> None:
    with pytest.raises(PlanError, match=r"'cnv'.*did you mean 'conv'.*at body"):
        Planner(SIZE).plan({"body": {"cnv": {}}})


def test_unknown_field_names_kind_place_and_path() -> None:
    with pytest.raises(PlanError, match=r"a\.pair\.first\.conv: conv on .*'kernl'.*at body"):
        Planner(SIZE).plan({"body": {"conv": {"kernl": 3}}})


def test_a_leaf_that_breaks_the_size_contract_is_named() -> None:
    with pytest.raises(PlanError, match=r"unpadded returned a map of 16x10, expected 17x11"):
        Planner(SIZE).plan({"body": {"unpadded": {}}})


def test_named_inputs_keep_their_weights_by_name() -> None:
    @kind("fused", "cell")
    def fused(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        y = net.add("y", CONV, x, width=6, stride=stride)
        return net.add("z", {"fuse": {}}, {"left": y, "right": y}, width=width)  # type: ignore[no-any-return]

    network = Network(Planner(SIZE).plan({"body": {"fused": {}}}))
    names = {name for name, _ in network.named_parameters()}
    assert "a.pair.first.fused.z.fuse.source.left.weight" in names


def test_equal_names_are_refused() -> None:
    @kind("clash", "cell")
    def clash(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        net.add("y", CONV, x, width=6, stride=stride)
        return net.add("y", CONV, x, width=6, stride=stride)  # type: ignore[no-any-return]

    with pytest.raises(PlanError, match=r"two nodes are called 'y\.conv'"):
        Planner(SIZE).plan({"body": {"clash": {}}})


def test_sum_of_different_shapes_says_which() -> None:
    @kind("uneven", "cell")
    def uneven(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        y = net.add("y", CONV, x, width=6, stride=stride)
        return net.sum("s", y, net.add("z", CONV, y, width=8, stride=2))

    with pytest.raises(PlanError, match=r"6 channels at stride 2, 8 channels at stride 4"):
        Planner(SIZE).plan({"body": {"uneven": {}}})


def test_values_are_freed_after_their_last_use() -> None:
    steps, outputs = Planner(SIZE).plan({"body": CONV, "twice": True}).steps()
    alive = {0}
    for step in steps:
        assert set(step.inputs) <= alive
        alive = (alive | {step.output}) - set(step.frees)
    assert alive == set(outputs.values())


def bodies(plan: Plan) -> dict[str, int]:
    return {name: id(body) for name, body in zip(plan.root.names, plan.root.bodies, strict=True)}


def test_parts_that_come_again_are_kept_and_others_are_not() -> None:
    planner = Planner(SIZE)
    for kernel in range(1, 21, 2):
        planner.plan({"body": {"conv": {"kernel": kernel}}})
    assert not any(isinstance(known.body, Part) for known in planner.memo.kept.values())
    first, second, third = (planner.plan({"body": CONV}) for _ in range(3))
    assert first.macs == second.macs == third.macs
    assert bodies(second)["a.pair"] != bodies(first)["a.pair"]
    assert bodies(second)["a.pair"] == bodies(third)["a.pair"]


def test_forgetting_everything_changes_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [{"body": {"conv": {"kernel": k}}, "twice": True} for k in (1, 3, 5, 3, 1)]
    expected = [Planner(SIZE).plan(tree).macs for tree in trees]
    monkeypatch.setattr(memo, "MOST", 1)
    planner = Planner(SIZE)
    assert [planner.plan(tree).macs for tree in trees] == expected
    assert len(planner.memo.kept) == 1


def test_kinds_whose_parts_do_not_recur_are_drawn_without_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memo, "TRIED", 4)
    monkeypatch.setattr(memo, "RESTS", 3)
    planner = Planner(SIZE)
    rare = []
    for kernel in range(1, 19, 2):
        tree = {"body": {"conv": {"kernel": kernel}}}
        assert planner.plan(tree).macs == Planner(SIZE).plan(tree).macs
        rare.append("pair" in planner.memo.rare)
    assert rare[2:] == [False, True, True, True, False, False, False]


def test_parts_that_recur_within_one_plan_only_are_looked_for_in_every_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memo, "TRIED", 4)
    planner = Planner(SIZE)
    for kernel in range(1, 19, 2):
        root = planner.plan({"body": {"conv": {"kernel": kernel}}, "twice": True}).root
        assert root.bodies[0] is root.bodies[1]
    assert not any(isinstance(known.body, Part) for known in planner.memo.kept.values())


def test_what_is_no_feature_is_refused_with_its_place() -> None:
    @kind("odd", "cell")
    def odd(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        return net.add("y", CONV, x.channels, width=width)  # type: ignore[no-any-return]

    with pytest.raises(PlanError, match=r"expected a feature.*got 3"):
        Planner(SIZE).plan({"body": {"odd": {}}})


def test_an_open_choice_is_refused_with_its_place() -> None:
    tree = {"body": {"conv": {"kernel": Choice((1, 3))}}}
    with pytest.raises(
        PlanError, match=r"a\.pair\.first cannot be planned.*close open choices.*resolve"
    ):
        Planner(SIZE).plan(tree)


def twice(net: Net, x: Feature, *, width: int) -> Feature:
    """What a composite repeats."""
    return net.add("b", CONV, net.add("a", CONV, x, width=width), width=width)  # type: ignore[no-any-return]


def test_a_group_is_as_if_added_one_by_one_and_planned_once() -> None:
    @kind("grouped", "cell")
    def grouped(
        net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1, apart: bool = False
    ) -> Feature:
        x = net.add("start", CONV, x, width=width, stride=stride)
        for name in ("x", "y"):
            if apart:
                x = net.add(f"{name}.a", CONV, x, width=width)
                x = net.add(f"{name}.b", CONV, x, width=width)
            else:
                x = net.add(name, twice, x, width=width)
        return x

    plan, apart = (
        Planner(SIZE).plan({"body": {"grouped": {"apart": flag}}}) for flag in (False, True)
    )
    assert plan.steps()[1] == apart.steps()[1]
    assert [(s.name, s.inputs, s.frees) for s in plan.steps()[0]] == [
        (s.name, s.inputs, s.frees) for s in apart.steps()[0]
    ]
    assert (plan.digest, plan.macs, plan.params) == (apart.digest, apart.macs, apart.params)
    pair = plan.root.bodies[0]
    assert isinstance(pair, Part)
    cell = pair.bodies[0]
    assert isinstance(cell, Part)
    assert cell.names == ("start.conv", "x", "y")
    assert cell.bodies[1] is cell.bodies[2]


def test_a_group_made_in_a_function_is_refused() -> None:
    @kind("local", "cell")
    def local(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        return net.add("x", lambda net, x: net.add("a", CONV, x, width=width), x)  # type: ignore[no-any-return]

    with pytest.raises(PlanError, match=r"a\.pair\.first\.local\.x: .*inside a function"):
        Planner(SIZE).plan({"body": {"local": {}}})


def test_an_error_in_a_group_says_where() -> None:
    @kind("odd_group", "cell")
    def odd_group(net: Net, x: Feature, *, width: Place[int], stride: Place[int] = 1) -> Feature:
        return net.add("x", twice, x, width=3)  # type: ignore[no-any-return]

    with pytest.raises(PlanError, match=r"first\.odd_group\.x\.a\.conv: .*width must be even"):
        Planner(SIZE).plan({"body": {"odd_group": {}}})
