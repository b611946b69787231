"""Networks: a slice of the super-supernet equals the child alone; numbers are derived twice."""

from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scalenet.nets import blocks, child, elastic, inherit, norm, weights
from scalenet.nets.child import Child
from scalenet.nets.deployed import Deployed
from scalenet.space import sampling
from scalenet.space.network import Network, Task
from scalenet.space.scale import largest, scale, smallest, uniform_base
from scalenet.space.scaling import BaseModel, Scaling

CPU = torch.device("cpu")


def supernet(params, coupling="left"):
    return elastic.build(
        params.space, params.scaling, Task(1, 3), coupling, torch.Generator().manual_seed(0)
    )


def coupled(net, coupling):
    """Return the same weights evaluated from other sides."""
    return elastic.Elastic(
        {name: tensor.detach() for name, tensor in net.weights.items()}, coupling
    )


def spread(tensors, seed=0):
    """Give every tensor values of its own, so that no test passes on ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in sorted(tensors):
            spread = 0.3 if name.endswith(("/bias", "norm/weight")) else 0.0
            tensors[name].add_(spread * torch.randn(tensors[name].shape, generator=generator))
        tensors["classifier/weight"].mul_(30)


@pytest.fixture(scope="module")
def shared(params):
    net = supernet(params).train()
    spread(net.weights)
    return net


def networks(params, seed, count=4):
    """Sample a few networks of every size."""
    generator = np.random.default_rng(seed)
    for size in range(3):
        weights_of = tuple(float(i == size) for i in range(3))
        sampler = sampling.Sampler(params.space, params.scaling, weights_of, uniform=False)
        for _ in range(count):
            yield sampler.draw(generator).network


def images_for(network, count=6, seed=1, channels=1):
    shape = (count, channels, network.resolution, network.resolution)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def standalone(net, network, side):
    """Return a child that owns copies of the slice."""
    own = Child(network, net.task).train()
    own.weights.load_state_dict(
        {name: tensor.detach().clone() for name, tensor in net.slices(network, side).items()}
    )
    return own


# --- a slice is the child -------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_slice_equals_the_child_forward_and_backward(params, shared, side):
    for network in networks(params, seed=0):
        images, labels = images_for(network), torch.tensor([0, 1, 2, 0, 1, 2])
        own = standalone(shared, network, side)
        shared.zero_grad(set_to_none=True)
        outs = shared(images, network, side), own(images)
        torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-5)
        assert outs[0].std(0).min() > 1e-3, "the test is blind if logits are all alike"
        for out in outs:
            F.cross_entropy(out, labels).backward()
        assert_gradients_are_slices(shared, own, side)


def assert_gradients_are_slices(shared, own, side):
    """Compare each gradient with the same end of the shared one; the rest must be exactly 0."""
    stored = {}
    for name, tensor in own.weights.items():
        key = f"{name}/{tensor.shape[-1]}" if name.endswith("/depth/weight") else name
        stored[key] = tensor.grad
    for key, tensor in shared.weights.items():
        expected = torch.zeros_like(tensor)
        if key in stored:
            small = stored[key]
            part = [
                slice(0, n) if side == "left" else slice(full - n, full)
                for n, full in zip(small.shape, tensor.shape, strict=True)
            ]
            expected[tuple(part)] = small
            outside = torch.ones_like(tensor, dtype=torch.bool)
            outside[tuple(part)] = False
            assert (tensor.grad[outside] == 0).all(), key
            torch.testing.assert_close(
                tensor.grad, expected, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}"
            )
            assert small.abs().sum() > 0 or "bias" in key, f"{key}: no gradient to compare"
        else:
            assert tensor.grad is None or not tensor.grad.any(), key


@pytest.mark.parametrize("se", [{"se_from": "input"}, {"se_ratio": 0}, {"scale_head": True}])
def test_other_spaces_slice_as_well(make_params, se):
    params = make_params({"space": se})
    net = supernet(params).train()
    spread(net.weights)
    for network in networks(params, seed=1, count=2):
        for side in ("left", "right"):
            images = images_for(network)
            out = net(images, network, side), standalone(net, network, side)(images)
            torch.testing.assert_close(*out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("se", [{}, {"se_from": "input"}])
@pytest.mark.parametrize("side", ["left", "right"])
def test_expansion_ratios_share_the_hidden_channels(make_params, se, side):
    """A narrow block uses one end of the widest one's hidden channels; of ratio 1, no expansion."""
    params = make_params({"space": se})
    net = supernet(params).train()
    spread(net.weights)
    hidden, outs = {}, []
    for text in ("k3e1-3e2-7e1", "k3e1-3e2-7e3"):
        network = scale(params.space, BaseModel.parse(text), Scaling(1.0, 1.0, 8))
        pieces, images = net.slices(network, side), images_for(network)
        block = {n: tensor for n, tensor in pieces.items() if n.startswith("stages/2/0/")}
        hidden[text[-1]] = block["stages/2/0/depth/weight"]
        assert ("stages/2/0/expand/weight" in block) == (text[-1] != "1")
        outs.append(net(images, network, side))
        torch.testing.assert_close(
            outs[-1], standalone(net, network, side)(images), rtol=1e-5, atol=1e-5
        )
    assert (len(hidden["1"]), len(hidden["3"])) == (8, 24)
    shared_end = hidden["3"][:8] if side == "left" else hidden["3"][-8:]
    assert torch.equal(hidden["1"], shared_end) and not torch.allclose(*outs, atol=1e-2)


def test_slices_are_views_of_the_asked_end(params, shared):
    network = smallest(params.space, params.scaling)
    for side in ("left", "right"):
        for name, piece in shared.slices(network, side).items():
            key = f"{name}/{piece.shape[-1]}" if name.endswith("/depth/weight") else name
            full = shared.weights[key]
            assert piece.untyped_storage().data_ptr() == full.untyped_storage().data_ptr(), name
            corner = (0,) * full.ndim if side == "left" else (-1,) * full.ndim
            assert piece[corner] == full[corner], name


def test_both_sides_differ_and_a_bilateral_evaluator_averages_them(params, shared):
    network = next(networks(params, seed=2))
    images, calibration = images_for(network), [images_for(network, 32, seed=5)]
    sides = []
    for side in ("left", "right"):
        own = standalone(shared, network, side)
        own.calibrate(calibration)
        sides.append(own.eval()(images))
    assert not torch.allclose(*sides, atol=1e-2)
    left, both = (
        coupled(shared, c).evaluator(network, calibration)(images) for c in ("left", "bilateral")
    )
    torch.testing.assert_close(left, sides[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both, (sides[0] + sides[1]) / 2, rtol=1e-4, atol=1e-4)


def test_an_evaluator_uses_no_statistics_of_what_it_evaluates(params, shared):
    for network in networks(params, seed=3, count=2):
        images, calibration = images_for(network), [images_for(network, 32, seed=5)]
        out = shared.evaluator(network, calibration)(images)
        torch.testing.assert_close(
            out[:1], shared.evaluator(network, calibration)(images[:1]), rtol=1e-4, atol=1e-4
        )
        assert not torch.allclose(out, shared(images, network), atol=1e-2)
        other = shared.evaluator(network, [3 * images_for(network, 32, seed=6) + 1])(images)
        assert not torch.allclose(out, other, atol=1e-2)


@pytest.mark.parametrize("coupling", ["left", "bilateral"])
def test_weights_survive_their_file(params, tmp_path, coupling):
    net, network = supernet(params, coupling), next(networks(params, seed=3))
    spread(net.weights)
    elastic.write(tmp_path / "weights.pt", net, coupling)
    again = elastic.read(tmp_path / "weights.pt", CPU)
    assert (
        again.sides == net.sides and not again.training and set(again.weights) == set(net.weights)
    )
    images, calibration = images_for(network), [images_for(network, 16, seed=5)]
    outs = [one.evaluator(network, calibration)(images) for one in (net, again)]
    assert torch.equal(*outs)


def test_a_gradient_reaches_every_parameter(params):
    net = supernet(params).train()
    spread(net.weights)
    sampler, generator = (
        sampling.Sampler(params.space, params.scaling, None, False),
        np.random.default_rng(0),
    )
    touched = {
        name: torch.zeros_like(tensor, dtype=torch.bool) for name, tensor in net.weights.items()
    }
    drawn = [
        largest(params.space, params.scaling),
        *(sampler.draw(generator).network for _ in range(100)),
    ]
    for i, network in enumerate(drawn):
        net.zero_grad(set_to_none=True)
        out = net(images_for(network), network, ("left", "right")[i % 2])
        F.cross_entropy(out, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
        for name, tensor in net.weights.items():
            if tensor.grad is not None:
                touched[name] |= tensor.grad != 0
    rare = {name: int((~seen).sum()) for name, seen in touched.items() if not seen.any()}
    assert not rare, rare
    share = {name: seen.float().mean().item() for name, seen in touched.items()}
    assert min(share[name] for name in share if "/depth/" not in name) > 0.5, share


def test_coupling_left_alone_starves_the_last_channels(params):
    """Why bilateral coupling: left slices alone train the last channel in wide networks only."""
    net = supernet(params).train()
    spread(net.weights)
    network = smallest(params.space, params.scaling)
    F.cross_entropy(
        net(images_for(network), network, "right"), torch.tensor([0, 1, 2, 0, 1, 2])
    ).backward()
    grad = net.weights["stem/norm/weight"].grad
    assert grad[-network.stem_width :].all() and not grad[: -network.stem_width].any()


def loss_of(out):
    return F.cross_entropy(out, torch.tensor([0, 1, 2, 0, 1, 2]))


def plain(net, network, side):
    """Return logits by slices that autograd cuts from the shared weights."""
    tensors = net.slices(network, side)
    return blocks.forward(network, tensors, images_for(network), norm.on_batch(tensors), None)


def gradients(net):
    return {n: t.grad.clone() for n, t in net.weights.items() if t.grad is not None}


@pytest.mark.parametrize("kept", [True, False], ids=["set to none", "set to zero"])
def test_gradients_are_those_of_slices_that_autograd_cuts(params, kept):
    """Step after step, though whole gradients are kept: of several networks the sum."""
    net, other = supernet(params).train(), supernet(params).train()
    for each in (net, other):
        spread(each.weights)
    drawn = list(networks(params, seed=9))
    steps = [drawn[:1], drawn[5:8], drawn[4:5], drawn[:1], [drawn[11], drawn[11]], drawn[2:3]]
    for i, step in enumerate(steps):
        net.zero_grad(set_to_none=kept), other.zero_grad(set_to_none=kept)
        for network in step:
            loss_of(net(images_for(network), network, ("left", "right")[i % 2])).backward()
            loss_of(plain(other, network, ("left", "right")[i % 2])).backward()
        found, expected = gradients(net), gradients(other)
        assert found.keys() == expected.keys(), "what no network of the step uses has none"
        assert all(torch.equal(gradient, expected[name]) for name, gradient in found.items()), i


def test_a_pass_that_broke_off_leaves_nothing_in_the_next_gradients(params):
    net = supernet(params).train()
    spread(net.weights)
    small, large = smallest(params.space, params.scaling), largest(params.space, params.scaling)
    loss_of(net(images_for(small), small)).backward()
    expected = gradients(net)
    net.zero_grad(set_to_none=True)
    loss_of(net(images_for(large), large)).backward()
    net.zero_grad(set_to_none=True)  # the step of `large` is not taken
    loss_of(net(images_for(small), small)).backward()
    found = gradients(net)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_weights_that_moved_elsewhere_are_those_that_learn(params):
    net, network = supernet(params).train(), smallest(params.space, params.scaling)
    spread(net.weights)
    loss_of(net(images_for(network), network)).backward()
    net.zero_grad(set_to_none=True)
    net.double()
    loss_of(net(images_for(network).double(), network)).backward()
    assert net.weights["stem/norm/weight"].grad.dtype == torch.float64
    with torch.no_grad():
        net.weights["classifier/bias"].add_(1000)
    assert net(images_for(network).double(), network).min() > 500, "slices are of the new weights"


def test_memory_that_ran_out_for_slices_leaves_nothing_in_the_next_gradients(params, monkeypatch):
    """A weight's whole gradient is made with its first slice: after others of the pass."""
    base, own = uniform_base(params.space, max, lambda depth: 1), params.space
    shallow = scale(own, base, Scaling(1.0, max(params.scaling.stages[-1].widths), 8))
    deep = scale(own, base, Scaling(2.0, 1.0, 8))
    net, other = supernet(params).train(), supernet(params).train()
    for each in (net, other):
        spread(each.weights)
    loss_of(net(images_for(shallow), shallow)).backward()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", Mock(side_effect=RuntimeError("out of memory")))
        net.zero_grad(set_to_none=True)
        with pytest.raises(RuntimeError, match="out of memory"):
            net(images_for(deep), deep)
    net.zero_grad(set_to_none=True)
    for each in (net, other):
        loss_of(each(images_for(deep), deep)).backward()
    expected = gradients(other)
    assert all(torch.equal(found, expected[name]) for name, found in gradients(net).items())


def test_a_pass_whose_gradients_are_reset_before_it_goes_back_has_them_all_the_same(params):
    """As in ``loss = …; optimizer.zero_grad(); loss.backward()``."""
    net, network = supernet(params).train(), smallest(params.space, params.scaling)
    spread(net.weights)
    loss_of(net(images_for(network), network)).backward()
    expected = gradients(net)
    loss = loss_of(net(images_for(network), network))
    net.zero_grad(set_to_none=True)
    loss.backward()
    found = gradients(net)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_a_pass_without_gradients_leaves_none_and_training_goes_on(params, without):
    net, network = supernet(params).train(), smallest(params.space, params.scaling)
    with without():
        net(images_for(network), network)
    assert not gradients(net)
    loss_of(net(images_for(network), network)).backward()
    assert gradients(net)


def saved_and_loaded(net):
    file = BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [deepcopy, saved_and_loaded])
def test_a_copy_of_a_trained_super_supernet_learns_as_it_does(params, copied):
    net, network = supernet(params).train(), smallest(params.space, params.scaling)
    spread(net.weights)
    loss_of(net(images_for(network), network)).backward()
    copy, losses = copied(net), []
    net.zero_grad(set_to_none=True)
    for each in (net, copy):
        optimizer = torch.optim.SGD(each.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            loss = loss_of(each(images_for(network), network))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:2] == losses[2:] and losses[0] != losses[1]


def test_a_super_supernet_whose_memory_came_later_learns(params):
    network = smallest(params.space, params.scaling)
    net = supernet(params).train().to("meta").to_empty(device="cpu")
    weights.initialise(net.weights, torch.Generator().manual_seed(0))
    loss_of(net(images_for(network), network)).backward()
    assert gradients(net)


# --- growth: a member that is larger than the super-supernet --------------------------------------

LARGER = {"deeper": (4.0, 1.2), "wider": (1.0, 4.0), "both": (4.0, 4.0), "narrow": (4.0, 1.0)}


def grown_of(net, network):
    """Return the child that starts a member, and the child that is its slice."""
    large = child.build(network, net.task, torch.Generator().manual_seed(7))
    spread({name: t for name, t in large.weights.items() if not name.endswith("norm/weight")})
    large.weights.load_state_dict(inherit.member(net, network, large.weights))
    return large, standalone(net, inherit.held(net, network), "left")


@pytest.mark.parametrize("how", LARGER)
@pytest.mark.parametrize("space", [{}, {"se_from": "input"}, {"se_ratio": 0}, {"scale_head": True}])
def test_a_grown_network_computes_what_its_slice_computes(make_params, how, space):
    params = make_params({"space": space})
    net, (depth, width) = supernet(params), LARGER[how]
    spread(net.weights)
    base = BaseModel.parse("k3e1-5.3.3e2-7.5e3")
    network = scale(params.space, base, Scaling(depth, width, 12))
    large, source = grown_of(net, network)
    assert source.network.resolution == 12 and str(source.network) != str(network)
    batch, images = images_for(network, 32, seed=5), images_for(network, seed=6)
    for each in (large, source):
        each.calibrate([batch])
    outs = [each.eval()(images).detach() for each in (large, source)]
    assert outs[1].std(0).min() > 1e-2, "the test is blind if logits are all alike"
    torch.testing.assert_close(*outs, rtol=1e-4, atol=1e-4)


def test_what_has_grown_learns(params, shared):
    """A gradient reaches what was set to 0 at once, and through it, soon, all that is new."""
    network = scale(params.space, BaseModel.parse("k3e1-5.3.3e2-7.5e3"), Scaling(4.0, 4.0, 9))
    large, source = grown_of(shared, network)
    large.train()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(4):
        large.zero_grad(set_to_none=True)
        F.cross_entropy(large(images_for(network)), labels).backward()
        with torch.no_grad():
            for tensor in large.weights.values():
                tensor -= 0.1 * tensor.grad
    for name, tensor in large.weights.items():
        old = source.weights.get(name)
        if old is None or len(old) < len(tensor):
            assert tensor.grad[0 if old is None else len(old) :].any(), name


def test_a_network_that_is_held_starts_as_its_slice(params, shared):
    for network in networks(params, seed=3, count=2):
        assert inherit.held(shared, network) == network
        large, source = grown_of(shared, network)
        assert all(torch.equal(t, source.weights[name]) for name, t in large.weights.items())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("k7.3_s2_e2_c8", r"layer 0 of block 1 has a kernel of 7, the super-supernet has 3, 5 th"),
        ("k3.5_s2_e4_c8", r"block 1 expands by 4, the super-supernet's by 2 at most"),
        ("k3.5_s1_e2_c40", r"layer 0 of block 1 has a skip in one of .* rounded to the same"),
    ],
)
def test_what_no_growth_reaches_is_refused(params, shared, text, reason):
    whole = f"r9-stem_k3_s1_c40-ir_k3_s1_e1_c40-ir_{text}-ir_k3_s2_e3_c40-head_c16"
    network = Network.parse(f"{whole}-se0.25e-hard_swish")
    fresh = child.build(network, Task(1, 3), torch.Generator()).weights
    with pytest.raises(ValueError, match=reason):
        inherit.member(shared, network, fresh)


# --- blocks ---------------------------------------------------------------------------------------


def plain_forward(network, tensors, images):
    """Write the same network once more with ordinary functions: an independent derivation."""
    act = {"hard_swish": F.hardswish, "swish": F.silu, "relu": F.relu}[network.activation]

    def bn(name, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        gain, shift = (
            tensors[f"{name}/norm/{part}"].view(1, -1, 1, 1) for part in ("weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + shift

    x = act(
        bn(
            "stem",
            F.conv2d(
                images, tensors["stem/weight"], None, network.stem_stride, network.stem_kernel // 2
            ),
        )
    )
    for i, block in enumerate(network.blocks):
        for j, k in enumerate(block.kernels):
            name, stride, y = f"stages/{i}/{j}", block.stride if j == 0 else 1, x
            if block.expand > 1:
                y = act(bn(f"{name}/expand", F.conv2d(y, tensors[f"{name}/expand/weight"])))
            y = F.conv2d(
                y, tensors[f"{name}/depth/weight"], None, stride, k // 2, groups=y.shape[1]
            )
            y = act(bn(f"{name}/depth", y))
            if network.se_ratio:
                gate = y.mean((2, 3), keepdim=True)
                gate = act(
                    F.conv2d(
                        gate, tensors[f"{name}/squeeze/weight"], tensors[f"{name}/squeeze/bias"]
                    )
                )
                y = y * torch.sigmoid(
                    F.conv2d(gate, tensors[f"{name}/excite/weight"], tensors[f"{name}/excite/bias"])
                )
            y = bn(f"{name}/project", F.conv2d(y, tensors[f"{name}/project/weight"]))
            x = x + y if stride == 1 and x.shape == y.shape else y
    x = act(bn("head", F.conv2d(x, tensors["head/weight"])))
    return x.mean((2, 3)) @ tensors["classifier/weight"].T + tensors["classifier/bias"]


@pytest.mark.parametrize("activation", ["hard_swish", "swish", "relu"])
def test_forward_is_an_inverted_residual_network(make_params, activation):
    params = make_params({"space": {"activation": activation}})
    for network in networks(params, seed=4, count=2):
        own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0)).double().train()
        spread(own.weights)
        images = images_for(network).double()
        torch.testing.assert_close(own(images), plain_forward(network, own.weights, images))


@pytest.mark.parametrize("stride", [1, 2])
def test_kernels_of_one_pixel_stride_and_stay_depthwise(make_params, stride):
    blocks_of = [{"depth": 2, "stride": s, "kernels": [1, 3]} for s in (1, 2, 2)]
    wide = {"width": 8, "expands": [2]}
    stages = [wide | block for block in blocks_of]
    params = make_params({"space": {"stem": {"kernel": 1, "stride": stride}, "stages": stages}})
    base = BaseModel.parse("k1.3e2-1.1e2-3.1e2")
    network = scale(params.space, base, Scaling(1.0, 1.0, 13))
    own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0)).double().train()
    spread(own.weights)
    images = images_for(network).double()
    torch.testing.assert_close(own(images), plain_forward(network, own.weights, images))
    net = supernet(params).train()
    assert net(images.float(), network).shape == (len(images), 3), "the super-supernet too"


def test_relu_and_drop_path_reach_the_residuals_only(params):
    """Dropping every branch leaves the skips: a layer's weights then have no gradient."""
    network = scale(params.space, BaseModel.parse("k3e1-3.5e2-3e3"), Scaling(1.0, 1.0, 8))
    own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0)).train()
    positions = []

    def drop(x, position):
        positions.append(position)
        return x * 0

    own(images_for(network), drop).sum().backward()
    assert positions == [1 / 4, 3 / 4, 4 / 4] or positions == [1 / 4, 3 / 4]
    assert not own.weights["stages/1/1/project/weight"].grad.any()
    assert own.weights["stages/1/0/project/weight"].grad.any()


def test_drop_path_keeps_the_mean_and_drops_whole_images():
    drop = blocks.drop_path(0.4, torch.Generator().manual_seed(0), 20000)
    x = torch.ones(20000, 2, 1, 1)
    for position, rate in ((1.0, 0.4), (0.5, 0.2)):
        out = drop(x, position)
        assert torch.equal(out[:, 0], out[:, 1])
        assert sorted(out.unique().tolist()) == pytest.approx([0, 1 / (1 - rate)])
        assert out.mean().item() == pytest.approx(1, abs=0.02)
        assert (out == 0).float().mean().item() == pytest.approx(rate, abs=0.015)
    assert blocks.drop_path(0.0, torch.Generator(), 4) is None
    assert drop(x.bfloat16(), 1.0).dtype is torch.bfloat16


def test_drop_path_draws_where_its_generator_lives(monkeypatch):
    """The steps' generators are the CPU's on any device: a CUDA draw from one would be refused."""
    rand, seen = torch.rand, []
    monkeypatch.setattr(
        torch, "rand", lambda *a, **k: seen.append(k.get("device")) or rand(*a, **k)
    )
    blocks.drop_path(0.5, torch.Generator(), 4)(torch.ones(4, 1, 1, 1, device="meta"), 1.0)
    assert seen in ([None], [CPU])


def test_initialisation_is_he_normal_and_seeded(params):
    network = largest(params.space, params.scaling)
    first, second, other = (
        child.build(network, Task(1, 3), torch.Generator().manual_seed(s)).weights
        for s in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head/weight"], other["head/weight"])
    assert (first["head/norm/weight"] == 1).all() and not first["classifier/bias"].any()
    project, depth = first["stages/2/0/project/weight"], first["stages/2/0/depth/weight"]
    assert project.std().item() == pytest.approx((2 / project.shape[0]) ** 0.5, rel=0.1)
    assert depth.std().item() == pytest.approx((2 / depth.shape[-1] ** 2) ** 0.5, rel=0.1)


def test_weight_decay_spares_norms_and_biases(params, shared):
    for tensors in (
        shared.weights,
        child.build(next(networks(params, 0)), Task(1, 3), torch.Generator()).weights,
    ):
        with_decay, without = weights.decayed(tensors)
        assert len(with_decay) + len(without) == len(tensors) and without
        assert {id(t) for t in with_decay} == {id(t) for t in tensors.values() if t.ndim > 1}


# --- norms ----------------------------------------------------------------------------------------


def test_calibration_equals_direct_computation(params):
    network = next(networks(params, seed=6))
    own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0)).train()
    spread(own.weights)
    batch = images_for(network, 32)
    own.calibrate([batch])
    stem = F.conv2d(
        batch, own.weights["stem/weight"], None, network.stem_stride, network.stem_kernel // 2
    )
    mean, variance = own.get_buffer("stem/norm/mean"), own.get_buffer("stem/norm/variance")
    torch.testing.assert_close(mean, stem.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(variance, stem.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-5)
    # On the images that calibrated it, evaluation is training without the noise: in every layer.
    torch.testing.assert_close(own.eval()(batch), own.train()(batch), rtol=1e-4, atol=1e-4)


def test_equal_batches_join_to_one(params):
    network = next(networks(params, seed=6))
    own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0))
    batch = images_for(network, 24)
    statistics = []
    for batches in ([batch], [batch, batch, batch], list(batch.split(8))):
        own.calibrate(batches)
        statistics.append({name: value.clone() for name, value in own.named_buffers()})
    for name, value in statistics[0].items():
        torch.testing.assert_close(statistics[1][name], value, rtol=1e-4, atol=1e-6)
    for name in (
        "stem/norm/mean",
        "stem/norm/variance",
    ):  # deeper layers see each batch normalised by itself
        torch.testing.assert_close(statistics[2][name], statistics[0][name], rtol=1e-4, atol=1e-6)


def test_calibration_touches_no_weight_and_forgets_earlier_ones(params):
    network = next(networks(params, seed=6))
    own = child.build(network, Task(1, 3), torch.Generator().manual_seed(0))
    before = {name: tensor.clone() for name, tensor in own.weights.items()}
    own.calibrate([images_for(network, 16, seed=8) + 5])
    own.calibrate([images_for(network, 16, seed=9)])
    second = own.get_buffer("head/norm/mean").clone()
    own.calibrate([images_for(network, 16, seed=9)])
    assert torch.equal(second, own.get_buffer("head/norm/mean"))
    assert all(torch.equal(before[name], tensor) for name, tensor in own.weights.items())
    assert norm.EPS == 1e-5


# --- deployment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [8, 13, 5])
def test_deployed_takes_images_as_they_are_stored(params, resolution):
    base = BaseModel.parse("k3e1-5.3e2-7e3")
    network = scale(params.space, base, Scaling(1.0, 1.0, resolution))
    own = child.build(network, Task(3, 4), torch.Generator().manual_seed(0))
    spread(own.weights)
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
    own.calibrate([images_for(network, 16, channels=3)])
    stored = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    shape = (1, 3, 1, 1)
    view = (stored - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    if resolution != 8:
        view = F.interpolate(
            view, (resolution, resolution), mode="bilinear", antialias=resolution < 8
        )
    deployed = Deployed(own.train(), mean, std)
    with torch.no_grad():
        torch.testing.assert_close(deployed(stored), own.eval()(view))
        # one image's logits do not depend on its batch
        torch.testing.assert_close(deployed(stored[:1]), deployed(stored)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_layers_see_their_channels_last(params, monkeypatch, channels):
    """An image of one channel is in both memory formats.

    Depthwise gradients are 4 times slower in the other one.
    """
    network, seen, conv2d = next(networks(params, seed=0)), [], F.conv2d

    def watched(x, *args, **kwargs):
        seen.append(x.is_contiguous(memory_format=torch.channels_last))
        return conv2d(x, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", watched)
    child.build(network, Task(channels, 3), torch.Generator()).train()(
        images_for(network, channels=channels)
    )
    assert len(seen) > 1 and all(seen[1:])


def test_folded_norms_give_the_logits_of_recorded_ones(params):
    for network in networks(params, seed=3, count=2):
        own = child.build(network, Task(1, 3), torch.Generator().manual_seed(1))
        spread(own.weights)
        own.calibrate([images_for(network, count=16)])
        folded = norm.fold(dict(own.weights.items()), own.eval().statistics())
        assert not any("/norm/" in name for name in folded)
        images = images_for(network, seed=2)
        with torch.no_grad():
            torch.testing.assert_close(
                blocks.forward(network, folded, images, norm.identity, None), own(images)
            )


def test_layers_with_a_skip_start_as_the_identity(params):
    """The second layer of a block, freshly initialised, hands its input on.

    Deep networks so learn as early as shallow ones.
    """
    base = BaseModel.parse("k3e1-3.5.3e2-3.3e3")
    network = scale(params.space, base, Scaling(1.0, 1.0, 9))
    shallow = replace(
        network, blocks=tuple(replace(stage, kernels=stage.kernels[:1]) for stage in network.blocks)
    )
    deep = child.build(network, Task(1, 3), torch.Generator().manual_seed(0)).train()
    images = torch.randn(4, 1, 9, 9)
    short = child.Child(shallow, Task(1, 3)).train()
    short.weights.load_state_dict({name: deep.weights[name] for name in short.weights})
    torch.testing.assert_close(deep(images), short(images))
    deep(images).sum().backward()
    assert deep.weights["stages/1/2/project/norm/weight"].grad.abs().max() > 0, "and can leave it"
