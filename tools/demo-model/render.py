"""The chat layout of Kimi K2 Thinking, and which of its tokens the model has to learn.

The one idea: reasoning of turns that were already answered is dropped (`<think></think>`), so one row trains both the
reasoning of its last question and the short form of the questions before it.
"""
from toolbox import compact, sort_keys

DEFAULT_SYSTEM = "You are Kimi, an AI assistant created by Moonshot AI."


def _assistant_parts(message, keep_reasoning):
    parts = [(f"<|im_assistant|>{message.get('name') or 'assistant'}<|im_middle|>", False)]
    if keep_reasoning:
        parts.append(("<think>" + message.get("reasoning_content", "") + "</think>", True))
    else:                          # learning the closing marker here would teach the model not to think
        parts += [("<think>", True), ("</think>", False)]
    body = message.get("content") or ""
    if message.get("tool_calls"):
        body += "<|tool_calls_section_begin|>"
        for call in message["tool_calls"]:
            arguments = call["function"]["arguments"]
            body += f"<|tool_call_begin|>{call['id']}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"
        body += "<|tool_calls_section_end|>"
    return parts + [(body + "<|im_end|>", True)]


def _other_part(message):
    name = message.get("name") or message["role"]
    head = "<|im_user|>" if message["role"] == "user" else "<|im_system|>"
    body = message["content"]
    if message["role"] == "tool":
        body = f"## Return of {message['tool_call_id']}\n{body}"
    return (f"{head}{name}<|im_middle|>{body}<|im_end|>", False)


def render(tools, messages):
    """A conversation as a list of messages' parts [(text, is learned)], one list for each rendered message. The last
    message counts as being generated: if it is a final answer, the reasoning of its turn is kept."""
    rendered = []
    if tools:
        rendered.append([(f"<|im_system|>tool_declare<|im_middle|>{compact(sort_keys(tools))}<|im_end|>", False)])
    if not messages or messages[0]["role"] != "system":
        rendered.append([(f"<|im_system|>system<|im_middle|>{DEFAULT_SYSTEM}<|im_end|>", False)])
    answers = [i for i, m in enumerate(messages[:-1]) if m["role"] == "assistant" and not m.get("tool_calls")]
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            rendered.append(_assistant_parts(message, keep_reasoning=not answers or i > answers[-1]))
        else:
            rendered.append([_other_part(message)])
    return rendered


def encode(tokenizer, tools, messages, learn_from=0):
    """-> (ids, flags): the flag says that the token is learned. Messages before `learn_from` are not learned."""
    rendered = render(tools, messages)
    lead = len(rendered) - len(messages)
    ids, flags = [], []
    for i, parts in enumerate(rendered):
        for text, learned in parts:
            piece = tokenizer.encode(text)
            ids += piece
            flags += [learned and i - lead >= learn_from] * len(piece)
    return ids, flags


def prompt_text(tools, messages):
    """The text that asks for the next assistant turn. `messages` may not end with a final answer."""
    rendered = render(tools, messages + [{"role": "assistant", "content": ""}])[:-1]
    return "".join(text for parts in rendered for text, _ in parts) + "<|im_assistant|>assistant<|im_middle|>"
