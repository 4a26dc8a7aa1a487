import pytest
import torch

from flwr_byzantine.experiments.tasks.models.convolutional import bucketing_cnn
from simulations.reproductions.models import SameDropout, bucketing_cnn_on_a_gpu


@pytest.mark.parametrize(("p", "channels", "shape"), [(0.25, True, (8, 64, 3, 3)), (0.5, False, (32, 128))])
def test_a_mask_is_the_same_in_every_call_and_leaves_out_its_share(p, channels, shape):
    first, second = (SameDropout(p, 1, channels)(torch.ones(shape)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    assert (first == 0).float().mean().item() == pytest.approx(p, abs=0.06)
    if channels:
        assert torch.equal(first, first[:, :, :1, :1].expand(shape))


def test_but_for_the_masks_the_network_is_the_papers():
    ours, plain = bucketing_cnn_on_a_gpu((1, 28, 28), 10), bucketing_cnn((1, 28, 28), 10)
    for value, like in zip(ours.parameters(), plain.parameters(), strict=True):
        value.data = like.data
    x = torch.randn(3, 784)
    torch.testing.assert_close(ours.eval()(x.view(3, 1, 28, 28)), plain.eval()(x))
    assert not torch.equal(ours.train()(x.view(3, 1, 28, 28)), plain(x))


def test_the_masks_follow_from_the_seed():
    def scores(seed):
        torch.manual_seed(seed)
        net, given = bucketing_cnn_on_a_gpu((1, 28, 28), 10), bucketing_cnn((1, 28, 28), 10)
        for value, like in zip(net.parameters(), given.parameters(), strict=True):
            value.data = torch.full_like(like, 0.01)
        return net(torch.ones(3, 1, 28, 28))

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))
