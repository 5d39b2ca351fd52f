"""Results of a tokenizer on samples, by which two tokenizers are compared.

Tokenizers are considered equal if they agree on their special and added tokens, on sample texts,
and on sample conversations in each chat template.
"""

from __future__ import annotations

from typing import Any

from slimgpt.texts.tokenization.tokenizer import Tokenizer

TEXTS = (
    "a",
    "Once upon a time, there was a girl named Lily. She didn't have 12 books; it's größer:",
    "\tdef f(x):\n\t\treturn x ** 2  # no end\n\n\r\n   three spaces, and  two",
    "naïve café, 東京で会いましょう, Здравствуйте, مرحبا, नमस्ते, 🙂👩‍👩‍👧, ﬁ, e\u0301",
    "<s>[INST] <|im_start|>user <|endoftext|> </s> <unk> <pad> <bos><eos>",
    "3.14159e-10 1,000,000 2024-11-30T13:24:00Z https://example.org/?q=%20&x=1 a@b.c",
)
USER = {"role": "user", "content": "How many legs has a spider?"}
CHATS: tuple[list[dict[str, str]], ...] = (
    [USER],
    [USER, {"role": "assistant", "content": "Eight."}, {"role": "user", "content": "And an ant?"}],
    [{"role": "system", "content": "Answer in one word."}, USER],
)
TOOL = {
    "type": "function",
    "function": {
        "name": "legs",
        "description": "Counts legs.",
        "parameters": {"type": "object", "properties": {"animal": {"type": "string"}}},
    },
}


def describe(tokenizer: Tokenizer) -> dict[str, Any]:
    """The results to compare, by a name for error messages."""
    inner = tokenizer.inner
    templates = inner.chat_template or {}
    if isinstance(templates, str):
        templates = {"default": templates}
    said: dict[str, Any] = {
        "the number of tokens": len(inner),
        "special tokens": {name: str(token) for name, token in inner.special_tokens_map.items()},
        "added tokens": sorted(inner.get_added_vocab().items()),
        "the names of chat templates": sorted(templates),
    }
    for text in TEXTS:
        for special in (True, False):
            ids = inner(text, verbose=False, add_special_tokens=special)["input_ids"]
            kind = "with" if special else "without"
            said[f"tokens of {text!r} {kind} special ones"] = (ids, inner.decode(ids))
    for name, template in templates.items():
        said[f"the text of chat template {name!r}"] = template
        said[f"conversations by chat template {name!r}"] = [
            _rendered(inner, template, chat, tools) for chat in CHATS for tools in (None, [TOOL])
        ]
    return said


def _rendered(inner: Any, template: str, chat: list[dict[str, str]], tools: Any) -> str:
    """A rendered conversation, or the error with which the template refuses it."""
    try:
        text = inner.apply_chat_template(
            chat, tools=tools, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except MemoryError:
        raise
    except Exception as error:  # templates can raise anything
        return f"{type(error).__name__}: {error}"
    return str(text)
