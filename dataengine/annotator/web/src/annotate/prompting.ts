/** Prompts of the mask in hand: each change asks the decoder, the answer becomes one step of the history. */
import { ApiError } from "../api/client";
import type { Prompt } from "../decoder/geometry";
import type { PromptDecoder } from "../decoder/workers";
import { isEmpty } from "../masks/boxed";
import { type Active, bytesOf, newActive } from "./active";
import type { Workspace } from "./workspace";

type BoxTuple = [number, number, number, number];

export class Prompting {
  /** A decode is on its way. */
  waiting = false;
  /** Settles when the latest decode has its answer, or has failed. */
  pending: Promise<void> = Promise.resolve();
  /** Milliseconds of the last decode, inside the model. */
  decodeMs = 0;
  /** The answer that was asked for last; it may still be on its way. */
  private wanted = -1;
  private token = 0;
  /** The mask in hand before the first prompt that has no answer yet; undefined when all are answered. */
  private before: Active | null | undefined;
  private hoverBusy = false;
  private hoverNext: [number, number] | null = null;

  constructor(
    private readonly workspace: Workspace,
    private readonly decoder: PromptDecoder,
  ) {}

  point(x: number, y: number, label: 0 | 1): void {
    performance.mark("click");
    this.ask(label === 1 ? "object click" : "background click", (prompt) => ({
      ...prompt,
      points: [...prompt.points, [x, y, label]],
    }));
  }

  box(box: BoxTuple): void {
    performance.mark("click");
    this.ask("box", (prompt) => ({ ...prompt, box }));
  }

  /** Show another of the model's answers. */
  async choose(index: number): Promise<void> {
    const { answer } = this.workspace.active ?? {};
    if (!answer || index === this.wanted || index < 0 || index >= answer.scores.length) return;
    this.wanted = index;
    const mask = await this.decoder.mask(answer.logits, index, this.workspace.frame);
    const { active } = this.workspace;
    // Keys may be faster than the worker: the last one counts.
    if (!active || active.answer !== answer || this.wanted !== index || active.chosen === index) return;
    const now = {
      ...active,
      chosen: index,
      mask,
      suggestion: null,
      brushed: false,
      predictedIou: answer.scores[index],
    };
    this.workspace.replaceActive(now);
    this.record("choice", active, now);
  }

  /** The mask in hand was replaced, by undo for example. */
  follow(active: Active | null): void {
    this.wanted = active?.chosen ?? -1;
  }

  /** The next or the previous of the answers that can be chosen. */
  cycle(step: number): void {
    const { active } = this.workspace;
    if (!active?.answer) return;
    const order = [1, 2, 3, 0];
    const at = order.indexOf(this.wanted);
    void this.choose(order[(at + step + order.length) % order.length]);
  }

  /** Forget what is on its way; returns whether there was something. */
  cancel(): boolean {
    this.token++;
    this.waiting = false;
    if (this.before === undefined) return false;
    this.workspace.replaceActive(this.before);
    this.before = undefined;
    return true;
  }

  private ask(label: string, change: (prompt: Prompt) => Prompt): void {
    const { workspace } = this;
    workspace.clock.touch();
    const active = workspace.active ?? newActive();
    if (this.before === undefined) this.before = workspace.active;
    const asked = { ...active, prompt: change(active.prompt), clicks: active.clicks + 1 };
    workspace.replaceActive(asked);
    this.pending = this.decode(label, asked);
  }

  private previousOf(active: Active): { logits: Float32Array } | { mask: Active["mask"] } | null {
    const drawn = active.brushed || (active.answer === null && active.mask.data.length > 0);
    if (drawn) return { mask: active.mask };
    return active.answer ? { logits: this.decoder.entry(active.answer.logits, active.chosen) } : null;
  }

  private async decode(label: string, asked: Active): Promise<void> {
    const { workspace } = this;
    const token = ++this.token;
    this.waiting = true;
    workspace.emit();
    try {
      const decoded = await this.decoder.decode({
        hover: false,
        imageId: workspace.task.image.id,
        embeddingUrl: workspace.task.image.embedding_url,
        frame: workspace.frame,
        prompt: asked.prompt,
        previous: this.previousOf(asked),
      });
      if (!decoded || token !== this.token) return;
      this.decodeMs = decoded.decodeMs;
      const now: Active = {
        ...asked,
        answer: { logits: decoded.logits, scores: decoded.scores },
        chosen: decoded.chosen,
        mask: decoded.mask,
        suggestion: null,
        brushed: false,
        predictedIou: decoded.scores[decoded.chosen],
      };
      this.record(label, this.before ?? null, now);
      this.before = undefined;
      this.waiting = false;
      workspace.replaceActive(now);
      workspace.stage.painted(() => performance.measure("click-to-mask", "click"));
      if (isEmpty(decoded.mask)) workspace.say("The model found nothing there. Click again, or use the brush.");
    } catch (error) {
      if (token !== this.token) return;
      this.cancel();
      workspace.failed(error instanceof ApiError ? error : new ApiError(0, "decoder", String(error)));
    }
  }

  private record(label: string, before: Active | null, after: Active): void {
    const { workspace } = this;
    workspace.history.push({
      label,
      bytes: bytesOf(after),
      undo: () => workspace.replaceActive(before),
      redo: () => workspace.replaceActive(after),
    });
    workspace.emit();
  }

  /** A preview of a click at (x, y): one decode at a time, the newest place next; gives way to clicks. */
  hover(x: number, y: number): void {
    this.hoverNext = [x, y];
    if (!this.hoverBusy) void this.hoverLoop();
  }

  stopHover(): void {
    this.hoverNext = null;
    if (this.workspace.hover !== null) this.workspace.setHover(null);
  }

  private async hoverLoop(): Promise<void> {
    const { workspace } = this;
    this.hoverBusy = true;
    try {
      while (this.hoverNext && !workspace.active && !workspace.closed && this.decoder.where === "page") {
        const [x, y] = this.hoverNext;
        this.hoverNext = null;
        const decoded = await this.decoder.decode({
          hover: true,
          imageId: workspace.task.image.id,
          embeddingUrl: workspace.task.image.embedding_url,
          frame: workspace.frame,
          prompt: { points: [[x, y, 1]], box: null },
          previous: null,
        });
        if (decoded && !workspace.active) workspace.setHover(decoded.mask);
      }
    } catch {
      // A preview that fails is no preview; the click tells.
    } finally {
      this.hoverBusy = false;
    }
  }
}
