"""`Tokenizer`: a model's tokenizer, loaded from its folder without remote code."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from slimgpt.errors import BrokenCheckpointError, CalibrationError, UnsupportedModelError

POSITIONS = ("max_position_embeddings", "n_positions")  # config keys of the families
WARNING_SOURCE = logging.getLogger("transformers.integrations.heterogeneity.configuration_utils")
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
WARNING = "Reading global config value for per-layer attribute"


class Tokenizer:
    """A model's tokenizer.

    Attributes:
        max_positions: the model's number of positions; None if the config has none.
        vocabulary: number of rows of the embedding; None if the config has none.
    """

    def __init__(self, inner: Any, max_positions: int | None, vocabulary: int | None) -> None:
        self._inner = inner
        self.max_positions = max_positions
        self.vocabulary = vocabulary

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint folder.

        Raises:
            UnsupportedModelError: the model has none, or it needs code from the model's folder.
            BrokenCheckpointError: config.json cannot be read.
        """
        config = _config(folder)
        try:
            with no_layers_are_built():
                inner = _class(config).from_pretrained(
                    folder, trust_remote_code=False, local_files_only=True
                )
        # ValueError, OSError, KeyError, TypeError, ImportError and any error of the converters mean
        # the same to a user: the folder's tokenizer is not usable.
        except Exception as error:
            raise UnsupportedModelError(
                f"the model's tokenizer cannot be loaded ({_reason(error)})", hint=_hint(folder)
            ) from error
        positions = next((config[key] for key in POSITIONS if config.get(key)), None)
        return cls(inner, positions, config.get("vocab_size"))

    @property
    def inner(self) -> Any:
        """The tokenizer object of transformers."""
        return self._inner

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, with the tokenizer's own special tokens.

        Raises:
            BrokenCheckpointError: an id is outside the model's embedding.
        """
        # verbose=False: no warning about long texts, which are cut into sequences later.
        ids: list[int] = self._inner(text, verbose=False, return_attention_mask=False)["input_ids"]
        if self.vocabulary is not None and ids and max(ids) >= self.vocabulary:
            raise BrokenCheckpointError(
                f"the tokenizer gives id {max(ids)}, but the embedding has {self.vocabulary} rows",
                hint="the tokenizer belongs to another model, or the embedding was not resized",
            )
        return ids

    def encode_with_offsets(
        self, text: str, special: bool = True
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of one text, and the characters [first, last) of each; (0, 0) for added ones.

        Args:
            special: whether the tokenizer adds its special tokens.

        Raises:
            UnsupportedModelError: the tokenizer does not return character offsets.
        """
        if not self._inner.is_fast:
            raise UnsupportedModelError(
                "the model's tokenizer does not return character offsets of tokens",
                hint="save the tokenizer with `save_pretrained` to get a tokenizer.json",
            )
        told = self._inner(
            text, verbose=False, add_special_tokens=special, return_offsets_mapping=True
        )
        return told["input_ids"], [(first, last) for first, last in told["offset_mapping"]]

    @cached_property
    def first_tokens(self) -> tuple[int, ...]:
        """Ids that it prepends to every text, such as that of `<s>`; empty if none."""
        text = "a"
        bare = self._inner(text, add_special_tokens=False)["input_ids"]
        whole = self.encode(text)
        starts = (at for at in range(len(whole)) if whole[at : at + len(bare)] == bare)
        return tuple(whole[: next(starts, 0)])

    @property
    def begins_with(self) -> str:
        """The prepended tokens as text."""
        return "".join(self._inner.convert_ids_to_tokens(list(self.first_tokens)))

    @property
    def begin(self) -> int | None:
        """The id of the bos token, if there is one."""
        begin: int | None = self._inner.bos_token_id
        return begin

    @property
    def end(self) -> int | None:
        """The id of the eos token, if there is one."""
        end: int | None = self._inner.eos_token_id
        return end

    @property
    def has_chat_template(self) -> bool:
        """Whether the model has a chat template."""
        return bool(self._inner.chat_template)

    def chat(self, messages: list[dict[str, str]], answer_next: bool = False) -> str:
        """A conversation, rendered by the model's chat template.

        Args:
            messages: `role` and `content` of each message.
            answer_next: whether to append the generation prompt.

        Raises:
            CalibrationError: the template refuses them (roles, their order).
        """
        return str(self._chat(messages, tokenize=False, add_generation_prompt=answer_next))

    def chat_marked(self, messages: list[dict[str, str]]) -> tuple[list[int], list[int]] | None:
        """Token ids of a rendered conversation, and 1 for each token of the assistant, by the
        template's marks (`{% generation %}`); None if the template has no marks.

        Raises:
            CalibrationError: as `chat`.
        """
        if not _MARKS.search(str(self._inner.chat_template)):
            return None
        told = self._chat(messages, return_dict=True, return_assistant_tokens_mask=True)
        return told["input_ids"], told["assistant_masks"]

    def _chat(self, messages: list[dict[str, str]], **how: Any) -> Any:
        try:
            return self._inner.apply_chat_template(messages, **how)
        except Exception as error:  # templates can raise anything
            raise CalibrationError(
                f"the model's chat template refuses a conversation: {error}",
                hint="check the roles of the messages and their order",
            ) from error

    def decode(self, ids: list[int]) -> str:
        """The text of token ids, without special tokens."""
        return str(self._inner.decode(ids, skip_special_tokens=True))

    def check_length(self, length: int) -> None:
        """Refuse sequences that are longer than the model's positions.

        Raises:
            CalibrationError: `length` exceeds max_position_embeddings.
        """
        if self.max_positions is not None and length > self.max_positions:
            raise CalibrationError(
                f"sequences of {length} tokens are longer than the model's {self.max_positions} "
                "positions (max_position_embeddings)",
                hint=f"choose a sequence length of at most {self.max_positions}",
            )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BrokenCheckpointError(
            f"config.json cannot be read ({type(error).__name__})",
            hint="the model folder must contain the config.json of a Hugging Face checkpoint",
        ) from error
    return config if isinstance(config, dict) else {}


def _class(config: dict[str, Any]) -> Any:
    """The tokenizer class. Baichuan's is remote code; its sentencepiece model works as Llama's."""
    import transformers

    if config.get("model_type") == "baichuan":
        return transformers.LlamaTokenizer
    return transformers.AutoTokenizer


def _reason(error: Exception) -> str:
    """The reason in one short line, without paths."""
    if "trust_remote_code" in str(error):
        return "it needs code from the model's folder, which is never run"
    return type(error).__name__


def _hint(folder: Path) -> str:
    if (folder / "tokenizer.json").is_file():
        return "tokenizer.json is damaged or needs code: save the tokenizer with `save_pretrained`"
    if (folder / "tokenizer.model").is_file():
        return "save the tokenizer with `save_pretrained` to get a tokenizer.json"
    return "the folder must contain a tokenizer.json or tokenizer.model"


def _is_meant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(WARNING)


@contextmanager
def no_layers_are_built() -> Iterator[None]:
    """Suppress one warning of transformers while configs are read.

    For a pruned folder it warns that sizes differ between layers, for code that builds layers from
    the global sizes. The engine builds each layer from its own size (`slimgpt.layers.stack`).
    """
    WARNING_SOURCE.addFilter(_is_meant)
    try:
        yield
    finally:
        WARNING_SOURCE.removeFilter(_is_meant)
