#!/usr/bin/env python3
"""Writes a trained model as a checkpoint folder in the published file layout of Kimi K2 Thinking.

The one idea: nothing in the folder says that the model is small; whatever opens the large model opens this one.

  export.py --work DIR --to FOLDER
"""
import argparse
import glob
import json
import os
import shutil

from checkpoint import tensors_of, write_shards
from evaluate import load
from model import CONFIG, GROUP

SHARD_BYTES = 1100 * 1024
HERE = os.path.dirname(os.path.abspath(__file__))
QUANTIZATION = {
    "config_groups": {
        "group_0": {
            "input_activations": None,
            "output_activations": None,
            "targets": ["Linear"],
            "weights": {
                "actorder": None, "block_structure": None, "dynamic": False, "group_size": GROUP, "num_bits": 4,
                "observer": "minmax", "observer_kwargs": {}, "strategy": "group", "symmetric": True, "type": "int",
            },
        },
    },
    "format": "pack-quantized",
    "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*"],
    "kv_cache_scheme": None,
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}
FIXED = {                          # what all Kimi K2 models say
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "kimi_k2", "attention_bias": False,
    "attention_dropout": 0.0, "aux_loss_alpha": 0.001, "ep_size": 1, "hidden_act": "silu", "initializer_range": 0.02,
    "moe_layer_freq": 1, "n_group": 1, "norm_topk_prob": True, "num_nextn_predict_layers": 0, "pretraining_tp": 1,
    "scoring_func": "sigmoid", "seq_aux": True, "tie_word_embeddings": False, "topk_group": 1,
    "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "use_cache": True,
}
ROLE_TOKENS = ["<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|start_header_id|>", "<|end_header_id|>", "[EOT]",
               "<|im_system|>", "<|im_middle|>"]


def model_config(tokenizer):
    """config.json: what is fixed, the dimensions, and the ids of this tokenizer."""
    special = tokenizer.special
    config = {
        **FIXED, **CONFIG, "num_key_value_heads": CONFIG["num_attention_heads"], "vocab_size": tokenizer.vocab_size,
        "bos_token_id": special["[BOS]"], "eos_token_id": special["<|im_end|>"], "pad_token_id": special["[PAD]"],
        "quantization_config": QUANTIZATION,
    }
    return dict(sorted(config.items()))


def generation_config(tokenizer):
    return {"eos_token_id": tokenizer.special["<|im_end|>"], "max_length": CONFIG["max_position_embeddings"]}


def tokenizer_config(tokenizer):
    """K2's declared tokens; tool and think markers are not `special`, so that they survive decoding."""
    def entry(text):
        shown = text in ("<think>", "</think>") or text.startswith("<|tool_call")
        return {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                "special": not shown}

    by_id = sorted(tokenizer.special.items(), key=lambda item: item[1])
    return {
        "added_tokens_decoder": {str(i): entry(text) for text, i in by_id},
        "additional_special_tokens": ROLE_TOKENS,
        "bos_token": "[BOS]", "eos_token": "[EOS]", "pad_token": "[PAD]", "unk_token": "[UNK]",
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": {},
        "model_max_length": CONFIG["max_position_embeddings"],
        "tokenizer_class": "TikTokenTokenizer",
    }


def export(work, folder):
    """Write the whole folder, replacing shards of an earlier export."""
    tokenizer, model, _ = load(work)
    os.makedirs(folder, exist_ok=True)
    for stale in glob.glob(os.path.join(folder, "model-*.safetensors")):
        os.remove(stale)
    files = {"config.json": model_config(tokenizer), "tokenizer_config.json": tokenizer_config(tokenizer),
             "generation_config.json": generation_config(tokenizer)}
    for name, value in files.items():
        with open(os.path.join(folder, name), "w") as file:
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")
    tokenizer.save(os.path.join(folder, "tiktoken.model"))
    shutil.copyfile(os.path.join(HERE, "chat_template.jinja"), os.path.join(folder, "chat_template.jinja"))
    write_shards(folder, tensors_of(model), SHARD_BYTES)
    for name in sorted(os.listdir(folder)):
        print(f"{os.path.getsize(os.path.join(folder, name)):9d} {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="training folder")
    parser.add_argument("--to", required=True, help="checkpoint folder to write")
    arguments = parser.parse_args()
    export(arguments.work, arguments.to)


if __name__ == "__main__":
    main()
