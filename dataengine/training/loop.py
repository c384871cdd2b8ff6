"""The training loop. Runs without Ray: whoever wraps it hands in a stream, a worker and callbacks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from dataengine.errors import ConfigError, EngineError
from dataengine.model.nano import NanoEncoder
from dataengine.model.sam import Sam
from dataengine.model.text import Clip
from dataengine.training.checkpoint import Checkpoint, load_checkpoint
from dataengine.training.data import SampleStream, State
from dataengine.training.encoding import ImageEncoding
from dataengine.training.examples import Example, Frame, frame_of, make_example
from dataengine.training.optimizer import build_optimizer, learning_rate, set_learning_rate, to_training_mode
from dataengine.training.precision import loss_scaler
from dataengine.training.seeds import generator_of, seed_of
from dataengine.training.simulate import simulate
from dataengine.training.text_prompts import CropEmbeddings, add_text_token
from schemas.training import Phase, Recipe

UNUSABLE_IN_A_ROW = 1000


@dataclass(frozen=True)
class Worker:
    """This process among those that train together.

    `average` replaces gradients, in place, by their mean over all workers: called once a step, after all
    backward passes of it, with the same parameters on every worker. `gather` collects a small record of
    each worker, in their order: called at the start and when a checkpoint is due. A single worker has nothing to do.
    """

    index: int = 0
    count: int = 1
    average: Callable[[Sequence[torch.Tensor]], None] = lambda gradients: None
    gather: Callable[[State], list[State]] = lambda state: [state]


@dataclass
class Progress:
    """One step, as `report` is told of it. Losses and IoUs are means over this worker's masks.

    `first_iou` and `last_iou` are the true IoU of the best mask after the first prompt and after the
    last iteration; `metrics` is what `validate` returned, where it ran after this step.
    """

    phase: str
    step: int
    steps: int
    loss: float = 0.0
    mask_loss: float = 0.0
    iou_loss: float = 0.0
    first_iou: float = 0.0
    last_iou: float = 0.0
    masks: int = 0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    seconds: float = 0.0
    done: int = 0
    """Steps of the whole recipe that have been taken, this one included."""
    metrics: dict[str, float] = field(default_factory=dict)


def train(
    sam: Sam,
    stream: SampleStream,
    recipe: Recipe,
    *,
    seed: int = 0,
    worker: Worker | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    validate: Callable[[Sam], dict[str, float]] | None = None,
    validate_every: int = 1000,
    folder: Path | None = None,
    save_every: int = 500,
    cache: Path | None = None,
) -> Sam:
    """Train `sam` in place by all phases of a recipe and return it in eval mode.

    With `folder` it saves a checkpoint there every `save_every` steps and after each phase, and goes on
    from one that it finds, exactly: same data, prompts and losses as if it had never stopped. `validate`
    runs every `validate_every` steps and at the end of a phase. `cache` keeps frozen features on disk.
    Exact means bit for bit under the same number of torch threads: sums are taken in another order by two.
    `report` may be told of a step again that a killed run had told of but not saved.
    Text prompts in the recipe give `sam` a text token where it has none.
    """
    worker = worker or Worker()
    clip = add_text_token(sam, recipe, seed)
    run = run_name(recipe, seed, worker.count)
    found = load_checkpoint(folder, run) if folder else None
    if found:
        sam.load_state_dict(found.model)
        stream.load_state_dict(found.streams[worker.index])
    starts = worker.gather({"phase": found.phase if found else 0, "step": found.step if found else 0})
    if any(start != starts[0] for start in starts):
        raise EngineError(f"{folder}: workers found different checkpoints: {starts}; does each see the same folder?")
    for number, phase in enumerate(recipe.phases):
        before = sum(earlier.steps for earlier in recipe.phases[:number])
        if found and number < found.phase:
            continue
        with input_size(sam, phase):
            steps = Steps(sam, stream, phase, f"{seed}/{number}", worker, cache, clip)
            start = 0
            if found and number == found.phase:
                steps.optimizer.load_state_dict(found.optimizer)
                steps.scaler.load_state_dict(found.scaler)
                start = found.step
            for step in range(start, phase.steps):
                progress = steps.take(step)
                progress.done = before + step + 1
                last = step + 1 == phase.steps
                if validate and (last or (step + 1) % validate_every == 0):
                    progress.metrics = validate(sam.eval())
                # Told before it is saved: a kill in between repeats a step, and never leaves one untold.
                report(progress)
                if folder and (last or (step + 1) % save_every == 0):
                    positions = worker.gather(stream.state_dict())
                    if worker.index == 0:
                        states = steps.optimizer.state_dict(), positions, steps.scaler.state_dict()
                        Checkpoint(run, number, step + 1, sam.state_dict(), *states).save(folder)
    return sam.eval().requires_grad_(True)


def run_name(recipe: Recipe, seed: int, workers: int) -> str:
    """What makes two runs the same: goes into their checkpoints."""
    return hashlib.sha256(f"{recipe.model_dump_json()}/{seed}/{workers}".encode()).hexdigest()


class Steps:
    """One phase: its optimizer, its frozen features, and how a step is taken."""

    def __init__(
        self,
        sam: Sam,
        stream: SampleStream,
        phase: Phase,
        seed: str,
        worker: Worker,
        cache: Path | None,
        clip: Clip | None = None,
    ) -> None:
        if phase.images_per_step % worker.count:
            raise ConfigError(f"images_per_step {phase.images_per_step} can't be shared by {worker.count} workers")
        self.sam, self.stream, self.phase, self.worker, self.seed = sam, stream, phase, worker, seed
        self.frame: Frame = frame_of(sam, phase)
        self.optimizer = build_optimizer(sam, phase)
        self.scaler = loss_scaler(sam.device, phase)
        self.encode = ImageEncoding(sam, phase, cache)
        self.text = CropEmbeddings(clip, phase.text, cache) if clip and phase.text else None

    def take(self, step: int) -> Progress:
        """Gradients of this worker's images, averaged with the others', clipped; one step of the optimizer."""
        phase, began = self.phase, time.monotonic()
        to_training_mode(self.sam, phase)
        generator = generator_of("step", self.seed, self.worker.index, step)
        # Drop path and dropout draw from the global state.
        torch.manual_seed(seed_of("drop", self.seed, self.worker.index, step))
        progress = Progress(phase.name, step + 1, phase.steps, learning_rate=learning_rate(phase, step))
        self.optimizer.zero_grad(set_to_none=True)
        images = phase.images_per_step // self.worker.count
        for first in range(0, images, phase.images_at_once):
            together = min(phase.images_at_once, images - first)
            self._backward([self._example(generator) for _ in range(together)], images, generator, progress)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.worker.count > 1:
            # A worker whose prompts left a part unused takes part in its average all the same.
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self.worker.average([p.grad for p in parameters if p.grad is not None])
        self.scaler.unscale_(self.optimizer)
        progress.gradient_norm = float(torch.nn.utils.clip_grad_norm_(parameters, phase.clip_norm or float("inf")))
        set_learning_rate(self.optimizer, progress.learning_rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.seconds = time.monotonic() - began
        return progress

    def _backward(self, examples: list[Example], images: int, generator: torch.Generator, progress: Progress) -> None:
        """Add the gradients of the mean over images of the mean over masks and iterations.

        Each iteration goes backward at once, down to its image's embedding; the encoder follows when all
        of its images have been prompted.
        """
        embeddings = self.encode(examples)
        leaves = [embedding[None].detach().requires_grad_(embeddings.requires_grad) for embedding in embeddings]
        for leaf, example in zip(leaves, examples, strict=True):
            truth = example.truth.to(self.sam.device)
            share = 1 / (len(truth) * images)
            prompts = simulate(self.sam, leaf, truth, example.size, self.frame, self.phase, generator, example.text)
            for iteration, losses in prompts:
                part = share / self.phase.iterations
                loss = losses.total.sum() * part
                self.scaler.scale(loss).backward()
                progress.loss += float(loss.detach())
                progress.mask_loss += float(losses.mask.sum()) * part
                progress.iou_loss += float(losses.iou.sum()) * part
                if iteration == 0:
                    progress.first_iou += float(losses.best_iou.sum()) * share
                if iteration == self.phase.iterations - 1:
                    progress.last_iou += float(losses.best_iou.sum()) * share
            progress.masks += len(truth)
        if embeddings.requires_grad:
            embeddings.backward(torch.cat([leaf.grad for leaf in leaves if leaf.grad is not None]))

    def _example(self, generator: torch.Generator) -> Example:
        """The next image of the stream that has a mask to learn from."""
        for _ in range(UNUSABLE_IN_A_ROW):
            image = next(self.stream)
            example = make_example(self.sam, image, self.phase, self.frame, generator)
            if example is not None:
                text = self.text(image, example.masks, example.mirrored, generator) if self.text else None
                return replace(example, text=text)
        raise EngineError(f"{UNUSABLE_IN_A_ROW} images in a row without a mask to learn from")


@contextmanager
def input_size(sam: Sam, phase: Phase) -> Iterator[None]:
    """The model at the phase's input size: positions are relative, so a convolutional encoder takes any."""
    prompts = sam.prompt_encoder
    before = prompts.image_size, prompts.embedding_size
    size = phase.image_size or before[0]
    stride = before[0] // before[1]
    if size != before[0] and (not isinstance(sam.image_encoder, NanoEncoder) or size % stride):
        raise ConfigError(f"image_size {size}: {sam.architecture} takes {before[0]} px; only nano takes others")
    prompts.image_size, prompts.embedding_size = size, size // stride
    try:
        yield
    finally:
        prompts.image_size, prompts.embedding_size = before
