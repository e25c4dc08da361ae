"""The summed loss of a micro-batch, with logits only where a token is learned.

Shapes: B rows, T tokens (B × T inputs), N learned places among them, D hidden, V vocabulary,
K tokens that an answer may go on with.

What it costs: of all B × T places only the N learned ones reach the output head. In chunks of
R = CHUNK_NUMBERS / V places: memory 4 R V bytes for a chunk's logits (128 MB) and the gradient
[N, D], instead of 4 B T V bytes and the same again for their gradient; 2 N V D operations for the
logits and as many for each gradient that is wanted (the hidden states'; the head's under method
full). A vocabulary of 150,000 makes the head a large part of a small model's work.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from snaketune.models.load import forget_growth, rope_switch
from snaketune.runtime.errors import is_out_of_memory
from snaketune.training import packed_attention
from snaketune.training.adapter_layers import evaluating
from snaketune.training.batches import Batch, TokenRow, packed_batch, padded_batch

CHUNK_NUMBERS = {"cpu": 32 * 1024 * 1024, "cuda": 256 * 1024 * 1024}
"""Logits held at once, in numbers: 128 MB in float32; on a GPU, whose products want many rows,
1 GB."""
# Of a token's logits: what two kernels may differ by, and what a row may that lies behind another.
ROUNDING = 0.1
_LEAKING = {16: 0.03, 32: 1e-3}
_PROBED = 64


class _HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of `hidden @ weightᵀ` against `targets`, in chunks of places.

    hidden [N, D], weight [V, D], bias [V] or None, targets [N] → []. The gradient is computed
    together with the loss, so that logits [N, V] never exist for more places than a chunk has, and
    no product is done twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        counted: torch.Tensor | None,
    ) -> torch.Tensor:
        wants = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants[0] else None
        grad_weight = torch.zeros_like(weight) if wants[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and wants[2] else None
        rows = _rows_at_once(weight)
        for start in range(0, len(targets), rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            logits = F.linear(part, weight, bias).float()  # [R, V]
            logits -= logits.logsumexp(-1, keepdim=True)  # log-probabilities, in place
            counts = 1.0 if counted is None else counted[start : start + rows, None]
            total -= (logits.gather(1, wanted) * counts).sum()
            if not any(wants[:3]):
                continue
            # d loss / d logits = softmax - one-hot, in the same memory.
            grad = logits.exp_()
            grad.scatter_add_(1, wanted, grad.new_full((len(wanted), 1), -1.0))
            if counted is not None:
                grad *= counts
            grad = grad.to(part.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + rows] = grad @ weight  # [R, D]
            if grad_weight is not None:
                grad_weight += grad.T @ part  # [V, D]
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple:
        return (*(None if g is None else g * grad for g in ctx.saved_tensors), None, None)


def _rows_at_once(weight: torch.Tensor) -> int:
    """How many places' logits make a chunk; `weight` is the output head's."""
    numbers = CHUNK_NUMBERS.get(weight.device.type, CHUNK_NUMBERS["cpu"])
    return max(1, numbers // weight.shape[0])


def _of_logits(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    if batch.counted is None:
        return F.cross_entropy(logits.float(), batch.targets, reduction="sum")
    return F.cross_entropy(logits.float(), batch.targets, reduction="none") @ batch.counted


def _likeliest(logits: torch.Tensor, among: torch.Tensor | None) -> torch.Tensor:
    if among is None:
        return logits.argmax(-1)
    return among.gather(1, logits.gather(1, among).argmax(-1, keepdim=True))[:, 0]


def _probe(row: TokenRow) -> TokenRow:
    tokens = row.input_ids[:_PROBED]
    return TokenRow(row.id, tokens, labels=tokens)


def largest_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference of a token's logits, as a share of them."""
    return float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


class SummedLoss:
    """Calls the model on batches. Chooses once, by trying, how to come by the logits.

    Where the model's logits are nothing but its output head applied to its last hidden state,
    body and head are called apart and the loss is chunked. Where the model does more (scales or
    caps its logits, say), the whole model is called with the head narrowed to the learned places.
    """

    def __init__(self, causal: PreTrainedModel, probe: Batch) -> None:
        """`causal` is the transformers model, which may hold an adapter; `probe` any batch."""
        self.model, self.head = causal, causal.get_output_embeddings()
        self.body: Any = getattr(causal, causal.base_model_prefix, None)
        self.given: tuple[str, ...] = ()
        """Fields of packed batches that the model's attention is given beside the usual ones."""
        switch = rope_switch(causal.config)
        self.grows = switch is not None and switch.grows
        self.apart = self._head_is_all(probe)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The loss summed over the batch's learned tokens, in float32."""
        if self.apart:
            return self._of_hidden(self._hidden(batch), batch)
        return _of_logits(self._logits(batch), batch)

    def with_likeliest(
        self, batch: Batch, among: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and the likeliest token [N] at each learned place: of all or `among` [N, K]."""
        among = None if among is None else among.to(batch.targets.device)
        if not self.apart:
            logits = self._logits(batch)
            return _of_logits(logits, batch), _likeliest(logits, among)
        hidden, rows = self._hidden(batch), _rows_at_once(self.head.weight)
        parts = hidden.split(rows)
        allowed = [None] * len(parts) if among is None else among.split(rows)
        pairs = zip(parts, allowed, strict=True)
        likeliest = torch.cat([_likeliest(self.head(part), tokens) for part, tokens in pairs])
        return self._of_hidden(hidden, batch), likeliest

    def _of_hidden(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        return _HeadLoss.apply(
            hidden, self.head.weight, self.head.bias, batch.targets, batch.counted
        )

    def _hidden(self, batch: Batch) -> torch.Tensor:
        """Last hidden states [N, D] at the learned places."""
        out = self.body(**self._inputs(batch))
        return out.last_hidden_state.flatten(0, 1).index_select(0, batch.places)  # [N, D]

    def _logits(self, batch: Batch) -> torch.Tensor:
        """Logits [N, V] at the learned places, as the model itself makes them."""
        if self.head is None:
            return self.model(**self._inputs(batch)).logits.flatten(0, 1)[batch.places]

        def narrow(_: nn.Module, args: tuple) -> tuple:
            return (args[0].flatten(0, 1)[batch.places][None], *args[1:])  # [1, N, D]

        hook = self.head.register_forward_pre_hook(narrow)
        try:
            return self.model(**self._inputs(batch)).logits[0]
        finally:
            hook.remove()

    def packs(self, row: TokenRow) -> bool:
        """Has the model read packed lines, if it gives for a row in one what it gives for the row
        alone; says whether. Layers that are recurrent or convolve read over the end of a row,
        which only attention is told of; another attention may be one that it can't do."""
        alone = self.logits_of(row)
        own = self.model.config._attn_implementation
        if "flash" in (own or ""):
            return self._apart(row, alone)
        self.given = ("bounds", "longest")
        self.model.set_attn_implementation(packed_attention.NAME)
        try:
            works = self._apart(row, alone)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            if is_out_of_memory(error):
                raise
            works = False
        if not works:
            self.given = ()
            self.model.set_attn_implementation(own)
        return works

    def keeps_apart(self, row: TokenRow) -> bool:
        """Whether packed rows do so with the model's own attention."""
        return self._apart(row, self.logits_of(row))

    def logits_of(self, row: TokenRow) -> torch.Tensor:
        """Logits [L, V] of the row's first tokens, read by themselves."""
        with evaluating(self.model):
            return self._logits(padded_batch([_probe(row)]).to(self.model.device)).float()

    def _apart(self, row: TokenRow, alone: torch.Tensor) -> bool:
        """Whether two copies of a row in one line give the same as each other and as `alone`."""
        line = packed_batch([_probe(row)] * 2).to(self.model.device)
        with evaluating(self.model):
            first, second = self._logits(line).float().chunk(2)
        bits = 16 if self.model.dtype.itemsize < 4 else 32
        return (
            largest_difference(first, alone) < ROUNDING
            and largest_difference(second, first) < _LEAKING[bits]
        )

    def _head_is_all(self, probe: Batch) -> bool:
        """Whether the head alone, on the body's output, gives the model's logits."""
        if self.body is None or type(self.head) is not nn.Linear:
            return False
        with evaluating(self.model):
            hidden = self._hidden(probe)
            if hidden.dtype != self.head.weight.dtype:  # Mamba's are wider, and it casts them
                return False
            ours, theirs = self.head(hidden), self._logits(probe)
        return ours.shape == theirs.shape and torch.equal(ours, theirs)

    def _inputs(self, batch: Batch) -> dict:
        """Without mask and cache: only so does transformers keep packed rows apart."""
        if self.grows:
            forget_growth(self.model)
        inputs = {"input_ids": batch.input_ids, "attention_mask": None, "use_cache": False}
        if batch.position_ids is not None:
            inputs["position_ids"] = batch.position_ids
        return inputs | {name: getattr(batch, name) for name in self.given}
