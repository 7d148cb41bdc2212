# SPDX-License-Identifier: Apache-2.0
import torch

from g2s_localizer.model.folding import fold_batch_norm
from g2s_localizer.model.unet import ConvBlock


def test_two_inputs_give_what_they_give_side_by_side_and_so_do_their_gradients():
    torch.manual_seed(0)
    block = ConvBlock(3 + 2, 4).double()
    x, skip = (torch.randn(2, c, 6, 8, dtype=torch.float64, requires_grad=True) for c in (3, 2))
    inputs = (x, skip, *block.parameters())
    apart = block(x, skip)
    together = block(torch.cat([x, skip], dim=1))
    torch.testing.assert_close(apart, together)
    wanted = torch.randn_like(together)
    torch.testing.assert_close(
        torch.autograd.grad(apart, inputs, wanted), torch.autograd.grad(together, inputs, wanted)
    )


def test_two_inputs_of_a_folded_block_feel_its_bias_once():
    torch.manual_seed(0)
    block = ConvBlock(3 + 2, 4)
    block(torch.randn(8, 5, 6, 8))  # statistics other than those of the beginning
    block.eval()
    x, skip = torch.randn(2, 3, 6, 8), torch.randn(2, 2, 6, 8)
    before = block(x, skip)
    fold_batch_norm(block)
    torch.testing.assert_close(block(x, skip), before)
