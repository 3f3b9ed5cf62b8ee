"""Samples or tensors in: what prepares a model's inputs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from jaxtyping import Int, Shaped
from torch import Tensor

from vlmlens import identity
from vlmlens.annotations import checked
from vlmlens.conversation import Message
from vlmlens.errors import InputError
from vlmlens.inputs import Inputs
from vlmlens.model.doors.as_transformer_lens import AsTransformerLens
from vlmlens.model.doors.asked import as_asked, as_options
from vlmlens.model.doors.given import as_answers
from vlmlens.model.reuse.pictures import Reuse
from vlmlens.model.reuse.seeing import wording
from vlmlens.model.sequence.cropping import warn_of_crops
from vlmlens.model.sequence.raw import Roles, from_tensors
from vlmlens.model.sequence.samples import from_samples
from vlmlens.sample import Picture, Sample

#: Messages: ``{"role": ..., "content": ...}``.
Conversation = Sequence[Message | Mapping[str, Any]]


class Preparing(AsTransformerLens):
    """How ``HookedVLM`` prepares inputs; see there."""

    @checked
    def inputs(
        self,
        samples: Sequence[Sample | Conversation] | Sample | Conversation | Picture | None = None,
        prompts: Sequence[str] | str | None = None,
        *,
        system: str | Sequence[str | None] | None = None,
        answers: Sequence[str] | None = None,
        padding: str = "left",
        tools: Sequence[Any] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        images_kwargs: Mapping[str, Any] | None = None,
        videos: Any = None,
        videos_kwargs: Mapping[str, Any] | None = None,
    ) -> Inputs:
        """Samples, conversations, or images or videos and prompts, as tensors with all roles.

        Args:
            samples: samples; or conversations, lists of messages as ``Sample.messages`` takes
                them, or one; or, with ``prompts``, one picture a prompt, or a list of them, in
                whatever way ``Sample.images`` takes them.
            prompts: what the user says, without chat template. ``<image>`` places the images;
                left out, they come first.
            system: a system prompt, for templates that know one; or one a sample.
            answers: what the assistant says, one a sample, in the role ``assistant`` after each
                prompt, as the template ends a message; None stops where the answer begins.
            padding: the side on which shorter samples are padded.
            tools: JSON schemas or functions that the template is told of, in the role
                ``template``.
            template_kwargs: further variables of the chat template.
            images_kwargs: what the image processor is told for this call: ``{"size": ...}``.
            videos: with ``prompts`` and without images: one video a prompt, or a list of them, as
                ``Sample.videos`` takes them; ``<video>`` places them.
            videos_kwargs: what the video processor is told for this call: ``{"fps": 1}`` frames a
                second, ``{"num_frames": 8}`` in all, ``{"do_sample_frames": False}`` for all that
                there are.

        Where the processor hides more than a twentieth of a picture, the log says so, once a
        model; ``layouts[sample].seen(image)`` says how much is left of each.

        Raises:
            InputError: images and placeholders differ in number; the chat template drops, moves
                or rewrites texts or images; it does not know what it is told; the processor would
                not look at an option, or refuses a picture. The message names the sample.
            ImageError: an image that cannot be read.

        Examples:
            >>> from PIL import Image
            >>> model.inputs(samples).tensors["input_ids"].shape  # batch pos
            torch.Size([4, 80])
            >>> picture = Image.new("RGB", (64, 64), "red")
            >>> model.inputs(picture, "What color is this?", answers=["red"]).layouts[0]
            TokenLayout(81 positions: 1 bos, 6 template, 8 user, 64 vision, 2 assistant)
            >>> chat = [
            ...     {"role": "user", "content": [{"type": "image", "image": picture}]},
            ...     {"role": "assistant", "content": "red"},
            ...     {"role": "user", "content": "And what is this?"},
            ... ]
            >>> layout = model.inputs([chat]).layouts[0]
            >>> layout.turns, layout.turn[layout.positions("user")[0]]
            (2, np.int64(1))
        """
        if self.processor is None:
            raise InputError("this model was opened without a processor: use inputs_from(...)")
        given = as_asked(samples, prompts, videos)
        said = None if answers is None else as_answers(answers)
        told = (tools, template_kwargs, images_kwargs, videos_kwargs)
        options = as_options(
            system, told, self.processor, self.hf_model.config, self.family, len(given)
        )
        make = partial(
            from_samples,
            given,
            self.processor,
            self.family,
            self.hf_model,
            options=options,
            answers=said,
            padding=padding,
        )
        if self.shared is None:
            made = make()
        else:
            seen = tuple((id(sample), identity.scene(sample)) for sample in given)
            key = (*seen, repr(options), said, padding, wording(self))
            made = self.shared.inputs(key, given, make)
        self._warned_of_crops = self._warned_of_crops or warn_of_crops(made.layouts, str(self.name))
        return made

    def inputs_from(
        self,
        input_ids: Int[Tensor, "batch pos"],
        *,
        attention_mask: Shaped[Tensor, "batch pos"] | None = None,
        roles: Roles | Sequence[Roles] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
        **images: Shaped[Tensor, "..."],
    ) -> Inputs:
        """Raw tensors, and the role of every position.

        Args:
            input_ids: tokens (batch, pos), image placeholders already expanded.
            attention_mask: 0 where a position is padding.
            roles: the role of every position, or half-open ranges by role
                (``{"system": (1, 10), "user": [(10, 12), (28, 37)]}``), for all samples or one
                each. Image and padding positions are found without; left out altogether, the
                rest is ``user``; in a mapping, what is not named is ``template``.
            sizes: width and height of every original image, then of every video's frames, for
                boxes in its pixels.
            images: ``pixel_values`` and whatever else the model takes of images
                (``image_grid_thw``, ``image_sizes``, ...), and ``pixel_values_videos`` and
                whatever it takes of videos, in order over the whole batch.

        Raises:
            InputError: tensors or roles that do not fit together.

        Examples:
            >>> ids = torch.arange(100, 110)[None]
            >>> inputs = model.inputs_from(ids, roles={"system": (0, 4), "user": (4, 10)})
            >>> inputs.layouts[0], model.run(inputs).logits.shape
            (TokenLayout(10 positions: 4 system, 6 user), torch.Size([1, 10, 418]))
        """
        given = {name: tensor for name, tensor in images.items() if tensor is not None}
        return from_tensors(
            input_ids,
            self.family,
            self.hf_model,
            attention_mask=attention_mask,
            roles=roles,
            sizes=sizes,
            images=given,
            processor=self.processor,
        )

    @checked
    @contextmanager
    def reuse(self) -> Iterator[Reuse]:
        """Share what passes about the same pictures have in common while this lasts.

        ``inputs`` of the same samples are made once; and a pass about images that tower and
        projector have seen takes what they made of them, where nobody watches or edits these and
        no graph is kept. Results are the same, also where weights, the configuration or the
        processor are changed meanwhile, in whatever way: they are compared with a copy of what
        tower and projector are, which is kept while this lasts. The last few batches are kept.

        Yields:
            A ``Reuse``, which counts, and says why where nothing can be shared.

        Raises:
            ClosedModelError: the model was closed.

        Examples:
            >>> from vlmlens.interventions import Scale
            >>> with model.reuse() as shared:
            ...     clean = model.run(model.inputs(sample))
            ...     edited = model.run(model.inputs(sample), Scale("blocks.0.hook_mlp_out", by=0.5))
            >>> shared
            Reuse(...)
        """
        self.check_open()
        before = self.shared

        def put_back() -> None:
            self.shared = before

        with self.noted(put_back):
            self.shared = before or Reuse()
            yield self.shared
