"""The textbook formulas against numbers worked out apart from them."""

import pytest

from genlab.scaling.counting import conventions
from genlab.scaling.counting.conventions import CONVENTIONS, DecoderShape

# GPT-2 124M: its 12 blocks and last norm; embeddings of 50,257 tokens (tied) and 1,024 positions.
GPT2 = DecoderShape(
    params=124_439_808,
    params_non_embedding=124_439_808 - 50_257 * 768 - 1_024 * 768,
    depth=12,
    width=768,
    sequence_length=1_024,
    vocab_size=50_257,
    num_heads=12,
)


def test_gpt2_under_every_convention():
    per_token = {name: formula(GPT2) / 1e6 for name, formula in CONVENTIONS.items()}
    assert per_token == pytest.approx(
        {
            "6N": 746.639,
            "6N_non_embedding": 510.336,
            "6N_head": 741.920,
            "6N_attention_non_embedding": 623.582,
            "6N_attention_head": 855.166,
            "kaplan_attention": 566.959,
            # 2 (12 D^2 + 2 T D) a layer, 3 H T softmax, and 2 V D twice, times three
            "chinchilla_appendix_f": 3e-6
            * (12 * (24 * 768**2 + 4 * 1024 * 768 + 36 * 1024) + 4 * 50_257 * 768),
        },
        rel=1e-5,
    )


def test_wide_heads_and_narrow_mlps_are_said_not_assumed():
    plain = DecoderShape(1000, 900, 2, 8, 16, 5)
    told = DecoderShape(1000, 900, 2, 8, 16, 5, mlp_width=32, attention_width=8)
    narrow = DecoderShape(1000, 900, 2, 8, 16, 5, mlp_width=16, attention_width=4)
    for formula in CONVENTIONS.values():
        assert formula(plain) == formula(told)
    assert conventions.attention_flops(narrow) == conventions.attention_flops(plain) / 2
    saved = 3 * 2 * (2 * 2 * 8 * 16 + 4 * 2 * 8 * 4 + 4 * 16 * 4)
    difference = CONVENTIONS["chinchilla_appendix_f"](plain) - CONVENTIONS["chinchilla_appendix_f"](
        narrow
    )
    assert difference == pytest.approx(saved)
