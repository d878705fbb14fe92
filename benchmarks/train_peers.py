"""The peers' sides of the training benchmarks: `train_peers.py WORK SIDE DEVICE [quick] [float32]`.

Sides: "nanogpt" (karpathy/nanoGPT's model and step as shipped: float32 on a CPU, bfloat16 and compiled on a GPU;
.bench/nanogpt/model.py), "plain" (the same with bfloat16 autocast and torch.compile everywhere), "trainer"
(transformers' Trainer, bf16=True), "peft" (the Trainer over peft's LoRA).
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_work  # beside this file
from train_work import END, IGNORED, MASK, PADDING, SHAPES, START, Shape, Turns

_ROOT = Path(__file__).resolve().parent.parent
_MANY = 1_000_000


def turns_on(device: str) -> Turns:
    """With the device's clock and memory."""
    if device == "cuda":
        return Turns(torch.cuda.synchronize, lambda: torch.cuda.max_memory_allocated() / 1e6)
    return Turns(lambda: None)


def nanogpt(shape: Shape, device: str, *, compiled: bool, bf16: bool) -> None:
    """nanoGPT's step: its model, its optimizer, its clipping, its order of things."""
    sys.path.insert(0, str(_ROOT / ".bench" / "nanogpt"))
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    sizes = {"n_layer": shape.layers, "n_head": shape.heads, "n_embd": shape.width}
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    given = GPTConfig(**sizes, block_size=shape.length, bias=True, vocab_size=shape.vocabulary, dropout=0.0)
    model = GPT(given).to(device)
    optimizer = model.configure_optimizers(0.1, 1e-4, (0.9, 0.95), device)
    run = torch.compile(model) if compiled else model
    context: Any = torch.autocast(device, torch.bfloat16) if bf16 else contextlib.nullcontext()
    turns, number, batches = turns_on(device), 0, train_work.rows(shape)
    turns.wait()
    while True:
        ids = torch.from_numpy(batches[number % len(batches)])
        number += 1
        inputs, targets = (part.contiguous() for part in (ids[:, :-1], ids[:, 1:]))
        if device == "cuda":
            inputs, targets = (part.pin_memory().to(device, non_blocking=True) for part in (inputs, targets))
        with context:
            _, loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.step(float(loss))


class _Texts(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Single examples, again and again, in the order of the batches."""

    def __init__(self, batches: list[list[dict[str, Any]]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            for batch in self._batches:
                yield from batch


def trainer(work: str, shape: Shape, device: str, *, lora: bool, bf16: bool) -> None:
    """transformers' Trainer in bfloat16, with its own collators and padding."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model, batches, collate = _MODELS[work](shape)
    if lora:
        from peft import LoraConfig, get_peft_model

        projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=projections))
    turns = turns_on(device)

    class Steps(transformers.TrainerCallback):
        def on_train_begin(self, *given: Any, **named: Any) -> None:
            turns.wait()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
            if logs and "loss" in logs:
                turns.step(float(logs["loss"]))

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=_MANY,
            per_device_train_batch_size=shape.rows,
            bf16=bf16,
            learning_rate=1e-4,
            weight_decay=0.1,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=device == "cpu",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        held = transformers.Trainer(
            model=model, args=arguments, train_dataset=_Texts(batches), data_collator=collate, callbacks=[Steps()]
        )
        held.remove_callback(transformers.PrinterCallback)
        held.train()


def _gpt(shape: Shape) -> tuple[Any, list[list[dict[str, Any]]], Any]:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=shape.vocabulary,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_positions=shape.length + 1,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return transformers.GPT2LMHeadModel(config), _rows(shape), _stacked


def _llama(shape: Shape) -> tuple[Any, list[list[dict[str, Any]]], Any]:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.inner,
        max_position_embeddings=train_work.POSITIONS,
        rope_theta=train_work.THETA,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config), _rows(shape), _stacked


def _bert(shape: Shape) -> tuple[Any, list[list[dict[str, Any]]], Any]:
    import transformers

    config = transformers.BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=512,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    examples = [[{"input_ids": text} for text in batch] for batch in train_work.texts(shape)]
    return transformers.BertForMaskedLM(config), examples, _masked


def _marian(shape: Shape) -> tuple[Any, list[list[dict[str, Any]]], Any]:
    import transformers

    config = transformers.MarianConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.inner,
        decoder_ffn_dim=shape.inner,
        dropout=0.0,
        scale_embedding=True,
        pad_token_id=PADDING,
        eos_token_id=END,
        bos_token_id=START,
        decoder_start_token_id=START,
        forced_eos_token_id=END,
        activation_function="swish",
        init_std=1 / math.sqrt(shape.width),
    )
    examples = [
        [{"input_ids": np.append(a, END), "labels": np.append(b, END)} for a, b in batch]
        for batch in train_work.pairs(shape)
    ]
    return transformers.MarianMTModel(config), examples, _both


_MODELS = {"gpt": _gpt, "lora": _llama, "bert": _bert, "seq2seq": _marian}


def _rows(shape: Shape) -> list[list[dict[str, Any]]]:
    return [[{"input_ids": row[:-1]} for row in batch] for batch in train_work.rows(shape)]


def _stacked(examples: list[dict[str, Any]]) -> dict[str, Any]:
    ids = torch.from_numpy(np.stack([example["input_ids"] for example in examples]))
    return {"input_ids": ids, "labels": ids}


def _padded(rows: list[Any], filler: int) -> torch.Tensor:
    """As the library's collators pad: to the longest, rounded up to a multiple of 8."""
    longest = -(-max(map(len, rows)) // 8) * 8
    out = np.full((len(rows), longest), filler, np.int64)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return torch.from_numpy(out)


def _masked(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """BERT's masks, as ``DataCollatorForLanguageModeling`` makes them."""
    ids = _padded([example["input_ids"] for example in examples], PADDING)
    real = ids != PADDING
    chosen = (torch.rand(ids.shape) < train_work.SHARE) & real
    labels = torch.where(chosen, ids, IGNORED)
    draws = torch.rand(ids.shape)
    ids = torch.where(chosen & (draws < 0.8), MASK, ids)
    others = torch.randint(train_work.SPECIAL, int(ids.max()) + 1, ids.shape)
    ids = torch.where(chosen & (draws >= 0.8) & (draws < 0.9), others, ids)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": labels}


def _both(examples: list[dict[str, Any]]) -> dict[str, Any]:
    """As ``DataCollatorForSeq2Seq`` pads."""
    ids = _padded([example["input_ids"] for example in examples], PADDING)
    labels = _padded([example["labels"] for example in examples], IGNORED)
    return {"input_ids": ids, "attention_mask": (ids != PADDING).long(), "labels": labels}


def main() -> None:
    """Train until nobody asks for more."""
    work, side, device, *rest = sys.argv[1:]
    shape = train_work.quick(SHAPES[work]) if "quick" in rest else SHAPES[work]
    narrow = "float32" not in rest
    if side in ("nanogpt", "plain"):
        fast = side == "plain" or device == "cuda"
        nanogpt(shape, device, compiled=fast, bf16=fast and narrow)
    else:
        trainer(work, shape, device, lora=side == "peft", bf16=narrow)


if __name__ == "__main__":
    main()
