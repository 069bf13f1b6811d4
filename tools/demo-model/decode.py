"""Greedy decoding with the torch model, and reading what came out.

The one idea: the whole row is computed again for every token; slow, but with nothing that could go wrong.
"""
import torch

LIMIT = 300                        # tokens of one assistant turn


@torch.no_grad()
def greedy(model, ids, stop, limit=LIMIT):
    """-> (ids of the turn with its stop token, smallest gap between the best two logits, logits of the first token)."""
    row, smallest, first = list(ids), float("inf"), None
    while len(row) - len(ids) < limit:
        logits = model(torch.tensor([row]), torch.tensor([len(row) - 1]))[0]
        first = logits if first is None else first
        best, second = torch.topk(logits, 2)[0].tolist()
        smallest = min(smallest, best - second)
        row.append(int(logits.argmax()))
        if row[-1] == stop:
            break
    return row[len(ids):], smallest, first


def parse_turn(text):
    """The text of an assistant turn as an OpenAI-style message with reasoning_content."""
    text = text[:-len("<|im_end|>")] if text.endswith("<|im_end|>") else text
    reasoning, _, body = text.partition("</think>")
    body, _, section = body.partition("<|tool_calls_section_begin|>")
    message = {"role": "assistant", "reasoning_content": reasoning[len("<think>"):], "content": body}
    calls = []
    for part in section.split("<|tool_call_begin|>")[1:]:
        identifier, _, rest = part.partition("<|tool_call_argument_begin|>")
        calls.append({"id": identifier, "type": "function",
                      "function": {"name": identifier[len("functions."):].rpartition(":")[0],
                                   "arguments": rest.partition("<|tool_call_end|>")[0]}})
    if calls:
        message["tool_calls"] = calls
    return message
