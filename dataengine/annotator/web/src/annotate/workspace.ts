/** One open image: its committed masks, the mask in hand, tools, history and saving. Panels and canvases show it. */
import { ApiError } from "../api/client";
import type { EngineState, Task, User } from "../api/types";
import { noMarks } from "../canvas/marks";
import { Pyramid } from "../canvas/pyramid";
import type { Scene, Stage } from "../canvas/stage";
import { focusView } from "../canvas/view";
import { type MaskWorker, type PromptDecoder, shapeOf } from "../decoder/workers";
import type { BoxedMask, Frame } from "../masks/boxed";
import { History } from "../masks/history";
import type { Rle } from "../masks/rle";
import { dropDraft, loadDraft, saveDraft } from "../outbox/drafts";
import type { Outbox } from "../outbox/outbox";
import { Emitter } from "../shell/emitter";
import { type Active, reopened, restore, type StoredActive, type StoredMask, store } from "./active";
import { Brushing } from "./brushing";
import { ActiveClock } from "./clock";
import { type Committed, CommittedMasks } from "./committed";
import { Committing } from "./committing";
import { Prompting } from "./prompting";
import { Redacting } from "./redacting";
import { Saving } from "./saving";
import { Verdicts } from "./verdicts";

export type Tool = "click" | "box" | "brush" | "eraser" | "select" | "redact";

export interface Around {
  user: User;
  state: EngineState;
  outbox: Outbox;
  decoder: PromptDecoder;
  masks: MaskWorker;
  stage: Stage;
  say(message: string, tone?: "plain" | "warn"): void;
  failed(error: ApiError): void;
}

export class Workspace extends Emitter {
  readonly frame: Frame;
  readonly committed: CommittedMasks;
  readonly history = new History();
  readonly clock = new ActiveClock();
  readonly prompting: Prompting;
  readonly brushing: Brushing;
  readonly committing: Committing;
  readonly redacting: Redacting;
  readonly saving: Saving;
  readonly verdicts: Verdicts;
  readonly scene: Scene;
  active: Active | null = null;
  tool: Tool;
  brushRadius = 12;
  hoverOn = localStorage.getItem("hover") !== "off";
  closed = false;
  ready = false;
  /** Active time at which the mask in hand was begun. */
  private begunAt = 0;
  private nudged = false;
  /** Whether the mask in hand, as it is, would survive the page. */
  kept = true;
  private draftBusy = false;
  private draftStale = false;
  private chain: Promise<unknown> = Promise.resolve();

  constructor(
    readonly task: Task,
    readonly around: Around,
  ) {
    super();
    this.frame = { width: task.image.width, height: task.image.height };
    this.committed = new CommittedMasks(this.frame);
    this.prompting = new Prompting(this, around.decoder);
    this.brushing = new Brushing(this);
    this.committing = new Committing(this);
    this.redacting = new Redacting(this, task.redactions);
    this.saving = new Saving(task, around.outbox);
    this.verdicts = new Verdicts(this, task.review?.masks ?? []);
    this.tool = task.kind === "review" ? "select" : "click";
    this.brushRadius = Math.max(3, Math.round(Math.min(task.image.width, task.image.height) / 60));
    this.scene = {
      frame: this.frame,
      pyramid: new Pyramid(task.image, () => this.stage.invalidate("image")),
      ids: this.committed.map.ids,
      fill: this.committed.fill,
      edge: this.committed.edge,
      masksHidden: false,
      active: null,
      hover: null,
      marks: noMarks(),
    };
    this.redacting.show();
  }

  get stage(): Stage {
    return this.around.stage;
  }

  get hover(): BoxedMask | null {
    return this.scene.hover;
  }

  get reviewing(): boolean {
    return this.task.kind === "review";
  }

  get nudgeSeconds(): number {
    return this.around.state.nudge_seconds;
  }

  /** Active seconds on the mask in hand. */
  get secondsInHand(): number {
    return this.active ? (this.clock.elapsed - this.begunAt) / 1000 : 0;
  }

  say(message: string, tone: "plain" | "warn" = "plain"): void {
    this.around.say(message, tone);
  }

  failed(error: ApiError): void {
    this.around.failed(error);
  }

  /** Bring picture, committed masks and the draft of an earlier page. Raises ApiError. */
  async open(): Promise<void> {
    this.stage.show(this.scene);
    const picture = this.scene.pyramid.ready(this.frame.width * this.stage.view.scale);
    const runs = await this.around.masks.decode(this.task.masks.map((mask) => mask.rle));
    await this.committed.load(this.task.masks, runs);
    await this.around.outbox.knows(this.task.masks);
    await picture;
    const draft = await loadDraft<StoredActive>(String(this.around.user.id), String(this.task.id));
    if (this.closed) return;
    this.clock.touch();
    if (draft) {
      this.replaceActive(await restore(draft, this.decodeMask));
      this.say("The mask you had in hand is back.");
    }
    this.ready = true;
    this.stage.invalidate("masks", "active");
    this.emit();
  }

  close(): void {
    this.closed = true;
    this.prompting.cancel();
    this.scene.pyramid.close();
  }

  setTool(tool: Tool): void {
    this.tool = tool;
    this.prompting.stopHover();
    this.showBrush(null);
    this.redacting.show();
    this.emit();
  }

  setBrushRadius(radius: number): void {
    const most = Math.max(8, Math.round(Math.min(this.frame.width, this.frame.height) / 3));
    this.brushRadius = Math.max(1, Math.min(most, radius));
    if (this.scene.marks.brush) this.scene.marks.brush.radius = this.brushRadius;
    this.stage.invalidate("active");
    this.emit();
  }

  showBrush(at: { x: number; y: number } | null): void {
    const drawing = this.tool === "brush" || this.tool === "eraser";
    this.scene.marks.brush = at && drawing ? { ...at, radius: this.brushRadius, erase: this.tool === "eraser" } : null;
    this.stage.invalidate("active");
  }

  setHidden(hidden: boolean): void {
    this.scene.masksHidden = hidden;
    this.stage.invalidate("masks");
    this.emit();
  }

  setHoverOn(on: boolean): void {
    this.hoverOn = on;
    localStorage.setItem("hover", on ? "on" : "off");
    if (!on) this.prompting.stopHover();
    this.emit();
  }

  setHover(mask: BoxedMask | null): void {
    this.scene.hover = mask;
    this.stage.invalidate("active");
  }

  async setThreshold(threshold: number): Promise<void> {
    await this.committed.setThreshold(threshold);
    this.stage.invalidate("masks");
    this.emit();
  }

  /** Put another state of the mask in hand on the screen and into the draft. */
  replaceActive(active: Active | null): void {
    if (active && !this.active) {
      this.begunAt = this.clock.elapsed;
      this.nudged = false;
    }
    this.active = active;
    this.prompting.follow(active);
    this.scene.active = active?.mask ?? null;
    this.scene.hover = null;
    this.scene.marks.points = active?.prompt.points ?? [];
    this.scene.marks.box = active?.prompt.box ?? null;
    this.stage.touched();
    void this.keepDraft();
    this.emit();
  }

  /** Once, when a mask has taken longer than the paper's half minute. */
  nudge(): void {
    if (!this.active || this.nudged || this.secondsInHand < this.nudgeSeconds) return;
    this.nudged = true;
    this.say(`${this.nudgeSeconds} s on this mask. Commit what is good, or let it go (Esc) and move on.`, "warn");
  }

  private readonly encodeRle = async (mask: BoxedMask) => (await this.around.masks.encode(mask, this.frame)).rle;

  private readonly decodeMask = async (stored: StoredMask): Promise<BoxedMask> => {
    const { masks, decoder } = this.around;
    if ("logits" in stored) return masks.upscale(stored.logits, this.frame, shapeOf(decoder.model));
    return masks.unpack(stored);
  };

  /** Run lengths of a mask without pixels; null when it is empty. */
  async asRle(stored: StoredMask): Promise<Rle | null> {
    if (!("logits" in stored)) return stored;
    const { masks, decoder } = this.around;
    const { rle, area } = await masks.encodeLogits(stored.logits, this.frame, shapeOf(decoder.model));
    return area > 0 ? rle : null;
  }

  /** Write the mask in hand down at once; while one write runs, only the newest state waits. */
  private async keepDraft(): Promise<void> {
    this.kept = false;
    this.draftStale = true;
    if (this.draftBusy || this.closed) return;
    this.draftBusy = true;
    const [user, task] = [String(this.around.user.id), String(this.task.id)];
    try {
      while (this.draftStale) {
        this.draftStale = false;
        if (this.active) await saveDraft(user, task, await store(this.active, this.encodeRle));
        else await dropDraft(user, task);
      }
      this.kept = true;
    } catch (error) {
      this.say(`The mask in hand is not kept for a reload: ${error}. Commit it soon.`, "warn");
    }
    this.draftBusy = false;
    this.emit();
  }

  /** Steps that change committed masks run one after another. */
  serial(step: () => Promise<void>): Promise<void> {
    const run = this.chain.then(step).catch((error) => {
      this.failed(error instanceof ApiError ? error : new ApiError(0, "page", String(error)));
    });
    this.chain = run;
    return run;
  }

  /** Let the mask in hand go, or else the selection. */
  discard(): void {
    if (this.prompting.cancel() && !this.active) return;
    const { active } = this;
    if (!active) {
      this.select(null);
      this.redacting.select(null);
      return;
    }
    this.replaceActive(null);
    this.history.push({
      label: "discard",
      bytes: active.mask.data.length,
      undo: () => this.replaceActive(active),
      redo: () => this.replaceActive(null),
    });
    this.emit();
  }

  select(id: string | null): void {
    this.committed.select(id);
    this.stage.invalidate("masks");
    this.emit();
  }

  /** Select the mask under (x, y); again at the same place goes on to the one below. */
  selectAt(x: number, y: number): void {
    const under = this.committed.allAt(x, y);
    const at = under.findIndex((one) => one.record.id === this.committed.selected);
    this.select(under.length > 0 ? under[(at + 1) % under.length].record.id : null);
  }

  /** Select the next or previous mask in the order of making and bring it into sight. */
  step(direction: number): void {
    const list = this.committed.list.filter((one) => this.committed.isShown(one));
    if (list.length === 0) return;
    const at = list.findIndex((one) => one.record.id === this.committed.selected);
    const next = at < 0 ? (direction > 0 ? 0 : list.length - 1) : (at + direction + list.length) % list.length;
    this.select(list[next].record.id);
    this.bringIntoSight(list[next]);
  }

  private bringIntoSight(one: Committed): void {
    const { view, size } = this.stage;
    const { box } = one;
    const inSight =
      box.x0 * view.scale + view.x < size.width - 20 &&
      box.x1 * view.scale + view.x > 20 &&
      box.y0 * view.scale + view.y < size.height - 20 &&
      box.y1 * view.scale + view.y > 20;
    if (!inSight) this.stage.setView(focusView(box, this.frame, this.stage.size));
  }

  /** Take a committed mask into the hand to change it. */
  edit(id: string | null = this.committed.selected): void {
    const one = this.committed.get(id);
    if (!one || this.active) return;
    if (one.record.locked) {
      this.say("This prefilled mask is locked: keep it, or delete it if it is wrong (Del).", "warn");
      return;
    }
    void this.serial(async () => {
      const mask = await this.decodeMask(one.record.rle);
      this.clock.restart();
      this.replaceActive(reopened(one.record, mask));
      this.tool = this.tool === "select" ? "brush" : this.tool;
      this.emit();
    });
  }

  undo(): Promise<void> {
    if (this.prompting.cancel()) return Promise.resolve();
    return this.serial(async () => {
      await this.history.undo();
      this.emit();
    });
  }

  redo(): Promise<void> {
    return this.serial(async () => {
      await this.history.redo();
      this.emit();
    });
  }

  async settle(): Promise<void> {
    await this.chain;
  }
}
