"""Small text models of random weights, with tokenizers of English and Chinese, as folders of transformers."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
CHARACTERS = "我今天很高兴难过为什么不你好？！。，,.?!"  # noqa: RUF001
WORDS = (*["i", "am", "so", "happy", "sad", "today", "why", "not", "##s"], *CHARACTERS)
ENGLISH, CHINESE = "I am so happy today", "我今天很高兴，你好！"  # noqa: RUF001
BLOCKS = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
READING = {
    "Bert": BLOCKS | {"max_position_embeddings": 20},
    "XLMRoberta": BLOCKS | {"max_position_embeddings": 22, "pad_token_id": 0},
    "Qwen2": BLOCKS | {"num_key_value_heads": 2, "max_position_embeddings": 64},
    "T5": {"d_model": 24, "d_kv": 12, "d_ff": 32, "num_layers": 3, "num_heads": 2, "pad_token_id": 0},
}


def tokenizer() -> Any:
    """Words and single Chinese characters; a start and an end around them."""
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *dict.fromkeys(WORDS)))}
    made: Any = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def spelt() -> dict[str, Any]:
    """The vocabulary and merges of a tokenizer of bytes."""
    return {"vocab": {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, "merges": []}


def save_text(folder: Path, family: str = "Bert") -> Path:
    """A model whose weights are large enough for its tokens to differ."""
    torch.manual_seed(0)
    words = transformers.Qwen2Tokenizer(**spelt()) if family == "Qwen2" else tokenizer()
    config = getattr(transformers, f"{family}Config")(**READING[family], vocab_size=len(words))
    model: Any = getattr(transformers, f"{family}Model")(config)
    for values in model.parameters():
        if values.dim() > 1:
            torch.nn.init.normal_(values, std=0.3)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
