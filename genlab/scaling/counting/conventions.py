"""Textbook conventions for the FLOPs of training a decoder-only Transformer, per token.

Each needs only an architecture's numbers (`DecoderShape`). `compute.py` counts what a real step
runs; for a plain decoder that is `6N_attention_head`.

| name                         | FLOPs per trained token          | source                         |
|------------------------------|----------------------------------|--------------------------------|
| `6N`                         | 6 N                              | Hoffmann et al. 2022, section 3|
| `6N_non_embedding`           | 6 N'                             | Kaplan et al. 2020, section 2.1|
| `6N_head`                    | 6 (N' + V D)                     | the head is a matmul too       |
| `6N_attention_non_embedding` | 6 N' + 12 L T D                  | Chowdhery et al. 2022, app. B  |
| `6N_attention_head`          | 6 (N' + V D) + 12 L T D          | the same, with the head        |
| `kaplan_attention`           | 6 N' + 6 L T D                   | Kaplan et al. 2020, table 1    |
| `chinchilla_appendix_f`      | 3 x forward, the look-up as well | Hoffmann et al. 2022, app. F   |
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DecoderShape:
    """The numbers that textbook FLOP formulas need of a decoder-only Transformer.

    params: all parameters, N. params_non_embedding: N', without token and position embeddings and
    without the output head (Kaplan's N). depth: L. width: D. sequence_length: T. vocab_size: V.
    mlp_width: F, 4 D if not given. attention_width: heads x head width, D if not given. num_heads:
    used by appendix F's softmax term only.
    """

    params: int
    params_non_embedding: int
    depth: int
    width: int
    sequence_length: int
    vocab_size: int
    num_heads: int = 1
    mlp_width: int | None = None
    attention_width: int | None = None


def flops_6n(shape: DecoderShape) -> float:
    """6 N per token, N all parameters: Hoffmann et al. 2022 (arXiv:2203.15556), section 3.

    Two FLOPs a weight forward, four backward. An embedding that is looked up, not multiplied, is
    counted as if it were a matmul: with an untied small model most of N may be that.
    """
    return 6.0 * shape.params


def flops_6n_non_embedding(shape: DecoderShape) -> float:
    """6 N' per token without embeddings and head: Kaplan et al. 2020 (arXiv:2001.08361)."""
    return 6.0 * shape.params_non_embedding


def flops_6n_head(shape: DecoderShape) -> float:
    """6 (N' + V D) per token: every weight matrix that is multiplied, the output head included."""
    return 6.0 * (shape.params_non_embedding + shape.vocab_size * shape.width)


def attention_flops(shape: DecoderShape) -> float:
    """12 L T D per token: scores and values, 4 T D a layer forward and twice that backward.

    Chowdhery et al. 2022 (PaLM, arXiv:2204.02311), appendix B: 12 L H Q T with H Q = D. The whole
    square of T x T is counted, though half of it is masked in a causal model.
    """
    return 12.0 * shape.depth * shape.sequence_length * (shape.attention_width or shape.width)


def flops_6n_attention_non_embedding(shape: DecoderShape) -> float:
    """6 N' + 12 L T D per token, without the head: PaLM appendix B with Kaplan's N'."""
    return flops_6n_non_embedding(shape) + attention_flops(shape)


def flops_6n_attention_head(shape: DecoderShape) -> float:
    """6 (N' + V D) + 12 L T D per token: all the matmuls of a plain decoder."""
    return flops_6n_head(shape) + attention_flops(shape)


def flops_kaplan_attention(shape: DecoderShape) -> float:
    """3 (2 N' + 2 L T D) per token: Kaplan et al. 2020, table 1, eq. 2.2; the causal half."""
    return flops_6n_non_embedding(shape) + attention_flops(shape) / 2


def flops_chinchilla_appendix_f(shape: DecoderShape) -> float:
    """Hoffmann et al. 2022, appendix F, per token: three times the forward pass.

    Forward, for a sequence of T tokens with A = heads x head width:
      embeddings 2 T V D (as a matmul, though it is a look-up);
      each layer: Q, K, V 2*3 T D A; scores 2 T T A; softmax 3 heads T T; values 2 T T A;
      output 2 T A D; MLP 2 T (D F + F D);
      logits 2 T D V.
    The backward pass is taken as twice the forward pass.
    """
    t, d, v = shape.sequence_length, shape.width, shape.vocab_size
    a, f = shape.attention_width or d, shape.mlp_width or 4 * d
    layer = 2 * 3 * t * d * a + 2 * t * t * a + 3 * shape.num_heads * t * t + 2 * t * t * a
    layer += 2 * t * a * d + 2 * t * (d * f + f * d)
    return 3.0 * (2 * t * v * d + shape.depth * layer + 2 * t * d * v) / t


CONVENTIONS: dict[str, Callable[[DecoderShape], float]] = {
    "6N": flops_6n,
    "6N_non_embedding": flops_6n_non_embedding,
    "6N_head": flops_6n_head,
    "6N_attention_non_embedding": flops_6n_attention_non_embedding,
    "6N_attention_head": flops_6n_attention_head,
    "kaplan_attention": flops_kaplan_attention,
    "chinchilla_appendix_f": flops_chinchilla_appendix_f,
}
