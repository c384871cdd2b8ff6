"""A training recipe: what one round does to a model, phase by phase. Defaults are the paper's (appendix A)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from schemas.config import Section, Share


class FirstPrompt(Section):
    """How an object's first prompt is chosen; the three shares add up to 1."""

    point: Share = 0.5
    box: Share = 0.5
    mask: Share = 0.0
    """A rough mask: the true one, bent (`prompts/rough_masks.py`)."""
    centre: Share = 0.0
    """Of the points, the share that lies at the distance transform's maximum instead of anywhere in the mask."""

    @model_validator(mode="after")
    def _adds_up(self) -> FirstPrompt:
        if abs(self.point + self.box + self.mask - 1) > 1e-6:
            raise ValueError("the shares of point, box and mask must add up to 1")
        return self


class LossWeights(Section):
    """Weights of the four terms; the paper's are 20 : 1 : 1, without cross-entropy."""

    focal: float = Field(20.0, ge=0)
    dice: float = Field(1.0, ge=0)
    balanced: float = Field(0.0, ge=0)
    """Class-balanced cross-entropy: gets a fresh decoder going, where focal loss ends in empty masks."""
    iou: float = Field(1.0, ge=0)
    supervise_all_iou: bool = False
    """Train the predicted IoU of all three masks (SAM 2), not only of the one with the smallest loss (SAM)."""


class TextPrompts(Section):
    """Text as a prompt (paper D.5): in training the CLIP embedding of the mask's crop stands in for the words."""

    clip: str = "openai/clip-vit-large-patch14-336"
    """transformers' CLIP, by name or local folder."""
    share: Share = 1.0
    """Of the objects large enough, the share whose first prompt is text; others get theirs by `first_prompt`."""
    with_point: Share = 0.0
    """Of these, the share whose first prompt is a point besides; the corrections' points follow in any case."""
    min_area: int = Field(100**2, ge=1)
    """Masks with fewer pixels of the labelled image are never prompted by text."""
    crop_scale: tuple[float, float] = (1.0, 2.0)
    """The box around the mask grows by a factor from this range before it is cropped."""
    blank_background: Share = 0.5
    """Share of the crops whose pixels outside the mask are set to zero."""
    crops_per_mask: int = Field(4, ge=1)
    """Different crops of one mask; each is embedded once, ever, where there is a cache."""

    @model_validator(mode="after")
    def _grows(self) -> TextPrompts:
        if not 1 <= self.crop_scale[0] <= self.crop_scale[1]:
            raise ValueError("crop_scale needs two factors, the smaller first, both at least 1")
        return self


class Phase(Section):
    """A stretch of training with one optimizer. Recipes with several run them one after the other."""

    name: str = "train"
    steps: int = Field(ge=1)
    images_per_step: int = Field(256, ge=1)
    """Over all workers; a worker with fewer images at once accumulates gradients."""
    images_at_once: int = Field(1, ge=1)
    """Images that go through the encoder together."""
    masks_per_image: int = Field(64, ge=1)
    max_mask_share: Share = 0.9
    """Masks that cover more of the image are discarded (paper A)."""

    image_size: int | None = Field(None, ge=32)
    """Side of the model's input in px; another than its own only for fully convolutional encoders."""
    mask_size: int | None = Field(None, ge=8)
    """Side of the square in which masks are compared; empty = the logits' own, a quarter or so of the input's."""
    jitter: tuple[float, float] | None = None
    """Large-scale jitter: the image is scaled by a factor drawn from this range, then cropped to the input."""
    flip: Share = 0.0
    """Share of the images that are mirrored."""

    first_prompt: FirstPrompt = Field(default_factory=FirstPrompt)
    text: TextPrompts | None = None
    """Empty = no text prompts. The first phase with them gives the model its text token, where it has none."""
    corrections: int = Field(8, ge=0)
    """Iterations with a new point from the error region."""
    empty_iterations: int = Field(2, ge=0)
    """Iterations without a new point, for refining: one ends the sequence, the others fall among the corrections."""
    loss: LossWeights = Field(default_factory=LossWeights)

    freeze: Literal["nothing", "trunk", "encoder"] = "nothing"
    """`encoder`: only prompt encoder and mask decoder learn. `trunk`: nano's neck learns too."""
    learning_rate: float = Field(8e-4, gt=0)
    warmup_steps: int = Field(250, ge=0)
    decay_at: list[int] = Field(default_factory=list)
    """Steps at which the learning rate is multiplied by `decay_factor`."""
    decay_factor: float = Field(0.1, gt=0, le=1)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.1, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    """The learning rate of each encoder layer is this times that of the one above it."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Of the last ViT block; the rate grows linearly from 0 at the first."""
    decoder_dropout: float = Field(0.0, ge=0, lt=1)
    """Of the residual branches on the decoder's tokens."""
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of matrix products, by autocast; weights stay float32. `fp16` scales the loss to keep small gradients."""

    @model_validator(mode="after")
    def _fits_together(self) -> Phase:
        if self.jitter is not None and not 0 < self.jitter[0] <= self.jitter[1]:
            raise ValueError("jitter needs two factors, the smaller first, both above 0")
        if any(step >= self.steps for step in self.decay_at):
            raise ValueError("decay_at lies beyond the last step")
        return self

    @property
    def iterations(self) -> int:
        """Prompts an object gets in one step: the first, the corrections, and the empty ones."""
        return 1 + self.corrections + self.empty_iterations


class Recipe(Section):
    """`dataengine/training/recipes/<name>.yaml`, or a file of the user's."""

    name: str
    description: str
    architecture: str | None = None
    """The model to build from scratch; empty = whatever checkpoint the round starts from."""
    decoder_depth: int = Field(2, ge=1)
    trunk: Literal["random", "imagenet"] = "random"
    """What a fresh `nano` starts from below its neck; `imagenet` needs the extra `nano`."""
    phases: list[Phase] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_clip(self) -> Recipe:
        if len({phase.text.clip for phase in self.phases if phase.text}) > 1:
            raise ValueError("all phases must take their text prompts from one CLIP")
        return self

    @property
    def clip(self) -> str | None:
        """The CLIP of the phases that have text prompts."""
        return next((phase.text.clip for phase in self.phases if phase.text), None)
