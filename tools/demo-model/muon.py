"""The optimiser: Muon for matrices, Adam for the rest.

The one idea: a matrix moves along its momentum with all singular values made equal (five Newton-Schulz steps), scaled
so that one learning rate serves both halves.
"""
import math

import torch

MOMENTUM, WEIGHT_DECAY = 0.95, 0.05
ADAM_FIRST, ADAM_SECOND = 0.9, 0.95


def orthogonal(gradient):
    """The nearest matrix with equal singular values, approximately; stacks of matrices are handled one by one."""
    x = gradient / (gradient.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.transpose(-1, -2)
    for _ in range(5):
        a = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(-1, -2) if tall else x


class Muon:
    """Holds references to the model's parameters and their moments."""

    def __init__(self, model):
        self.matrices, self.others, self.steps = [], [], 0
        for name, parameter in model.named_parameters():
            is_matrix = parameter.dim() >= 2 and not name.startswith(("embed", "head")) and "router" not in name
            (self.matrices if is_matrix else self.others).append(parameter)
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.others]

    @torch.no_grad()
    def step(self, rate):
        """Apply and drop the gradients."""
        self.steps += 1
        for p, momentum in zip(self.matrices, self.momentum):
            momentum.mul_(MOMENTUM).add_(p.grad)
            update = orthogonal(p.grad + MOMENTUM * momentum) * (0.2 * math.sqrt(max(p.shape[-2:])))
            p.mul_(1 - rate * WEIGHT_DECAY).add_(update, alpha=-rate)
            p.grad = None
        for p, (first, second) in zip(self.others, self.moments):
            first.lerp_(p.grad, 1 - ADAM_FIRST)
            second.lerp_(p.grad * p.grad, 1 - ADAM_SECOND)
            corrected = (second / (1 - ADAM_SECOND ** self.steps)).sqrt() + 1e-8
            if p.dim() >= 2:
                p.mul_(1 - rate * WEIGHT_DECAY)
            p.add_(first / (1 - ADAM_FIRST ** self.steps) / corrected, alpha=-rate)
            p.grad = None

    def state(self):
        return dict(momentum=self.momentum, moments=self.moments, steps=self.steps)

    def load_state(self, state):
        self.momentum, self.moments, self.steps = state["momentum"], state["moments"], state["steps"]
