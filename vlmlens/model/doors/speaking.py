"""Texts and tokens on a model, by TransformerLens's names."""

from typing import Any, Literal

from jaxtyping import Int
from torch import Tensor

from vlmlens.annotations import checked
from vlmlens.checks import one_of, shown, whole, word
from vlmlens.errors import InputError
from vlmlens.model.doors import texts
from vlmlens.model.doors.settings import Settings, settings
from vlmlens.model.doors.splicing import Splicing
from vlmlens.model.doors.texts import Ids


class Speaking(Splicing):
    """How ``HookedVLM`` turns texts into tokens and back; see there."""

    @property
    def cfg(self) -> Settings:
        """Its sizes and kinds: ``model.cfg.n_layers``."""
        return settings(self._wired)

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            InputError: it was opened without one.
        """
        found = getattr(self.processor, "tokenizer", None)
        if found is None:
            raise InputError(
                "this model was opened without a tokenizer: open it with its processor"
            )
        return found

    @checked
    def to_tokens(
        self,
        input: str | list[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] | None = None,
        move_to_device: bool = True,
        truncate: bool = True,
    ) -> Int[Tensor, "batch pos"]:
        """Token ids of texts as they stand, without a chat template; see ``inputs`` for prompts.

        Args:
            input: one text or several.
            prepend_bos: whether each begins with the tokenizer's first token; by default where
                it has one, as prompts do.
            padding_side: where shorter ones are padded; by default as the tokenizer says.
            move_to_device: put them where inputs go.
            truncate: keep the first ``cfg.n_ctx`` alone.

        Raises:
            InputError: no text, no tokenizer, or no such token.

        Examples:
            >>> model.to_tokens("left of the circle").tolist()
            [[1, 275, 297, 304, 263, 339]]
        """
        cfg, tokenizer = self.cfg, self.tokenizer
        side = tokenizer.padding_side if padding_side is None else padding_side
        made = texts.to_tokens(
            tokenizer,
            texts.as_texts(input),
            texts.wants_bos(prepend_bos, cfg.default_prepend_bos),
            one_of(side, "padding_side", ("left", "right")),  # pyright: ignore[reportArgumentType]
            cfg.n_ctx if truncate else None,
        )
        return made.to(self.device) if move_to_device else made

    def to_string(self, tokens: Ids) -> str | list[str]:
        """The text of token ids (pos), or the texts of several (batch pos).

        Raises:
            InputError: what are no token ids.

        Examples:
            >>> model.to_string(model.to_tokens(" red circle", prepend_bos=False)[0])
            ' red circle'
        """
        ids = texts.as_ids(tokens, dimensions=2)
        rows = ids if ids and isinstance(ids[0], list) else [ids]
        made = [self.tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in rows]
        return made if rows is ids else made[0]

    def to_str_tokens(
        self,
        input: str | Ids | list[str],
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] | None = None,
    ) -> list[str] | list[list[str]]:
        """Each token's own text, of a text or of token ids; of a list of texts, one list each.

        Args:
            input: a text, a list of texts, or token ids.
            prepend_bos: as in ``to_tokens``; of texts alone.
            padding_side: taken as in TransformerLens, where a text alone is never padded.

        Raises:
            InputError: neither, or ids of several samples.

        Examples:
            >>> model.to_str_tokens(" red circle")
            ['<s>', ' red', ' circle']
        """
        if isinstance(input, list | tuple) and input and isinstance(input[0], str):
            return [self._spelt(text, prepend_bos, padding_side) for text in input]
        return self._spelt(input, prepend_bos, padding_side)

    def to_single_token(self, string: str) -> int:
        """The id of a text that is one token.

        Raises:
            InputError: it is several, or none.

        Examples:
            >>> model.to_single_token(" red")
            307
            >>> model.to_single_token("left of")
            Traceback (most recent call last):
            vlmlens.errors.InputError: 'left of' is 3 tokens, not one: 'le', 'ft', ' of'
        """
        ids = self.tokenizer(word(string, "string"), add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = ", ".join(map(repr, texts.str_tokens(self.tokenizer, ids)))
            raise InputError(f"{string!r} is {len(ids)} tokens, not one: {pieces}")
        return ids[0]

    def to_single_str_token(self, int_token: int) -> str:
        """The text of one token.

        Examples:
            >>> model.to_single_str_token(307)
            ' red'
        """
        (text,) = texts.str_tokens(
            self.tokenizer, [whole(int_token, "int_token", 0, texts.LARGEST)]
        )
        return text

    def get_token_position(
        self,
        single_token: str | int,
        input: str | Ids,
        mode: str = "first",
        prepend_bos: bool | None = None,
        padding_side: Literal["left", "right"] | None = None,
    ) -> int:
        """Where a token is, in a text or among token ids; of prompts, see ``positions``.

        Args:
            single_token: its id, or its text.
            input: a text, or the ids of one sample.
            mode: the ``"first"`` or the ``"last"`` of them.
            prepend_bos: as in ``to_tokens``; of texts alone.
            padding_side: taken as in TransformerLens, where one text is never padded.

        Raises:
            InputError: it is not there.

        Examples:
            >>> model.get_token_position(" circle", "a red circle")
            3
        """
        given = single_token
        token = self.to_single_token(given) if isinstance(given, str) else whole(given, "token")
        if isinstance(input, str):
            input = self.to_tokens(input, prepend_bos, padding_side)
        return texts.place_of(_one_row(input), token, mode)

    def _spelt(self, given: Any, bos: bool | None, side: Any) -> list[str]:
        if isinstance(given, str):
            given = self.to_tokens(given, bos, side)
        return texts.str_tokens(self.tokenizer, _one_row(given))

    @property
    def _wired(self) -> Any:
        return self


def _one_row(given: Any) -> list[int]:
    """The ids of one sample.

    Raises:
        InputError: those of several.
    """
    ids = texts.as_ids(given, dimensions=2)
    if ids and isinstance(ids[0], list):
        if len(ids) != 1:
            raise InputError(f"{shown(given)} are {len(ids)} samples' tokens: pass one's")
        (ids,) = ids
    return ids
