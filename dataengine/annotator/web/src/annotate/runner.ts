/** Takes tasks from the queue, keeps their leases alive, and has the next one ready before this one is done. */
import { ApiError, api } from "../api/client";
import type { Empty, Mask, Redaction, Task } from "../api/types";
import type { Outbox } from "../outbox/outbox";
import { newId } from "../outbox/outbox";
import { Emitter } from "../shell/emitter";

export type RunnerState =
  | { name: "loading" }
  | { name: "working"; task: Task }
  | { name: "empty"; empty: Empty }
  | { name: "failed"; error: ApiError };

/** Claiming ahead begins when the open image has been looked at for this long. */
const AHEAD_AFTER_MS = 4_000;
const RETRY_MS = 6_000;
/** Nothing touched for this long: the lease is left to run out, so that others get the image. */
const AWAY_MS = 180_000;

export class Runner extends Emitter {
  state: RunnerState = { name: "loading" };
  /** Called with a task that will come next. */
  onAhead: (task: Task) => void = () => {};
  private ahead: Task | null = null;
  private beat = 0;
  private aheadTimer = 0;
  private retryTimer = 0;
  private closed = false;
  private touched = Date.now();
  /** One claim a mutation id: an answer lost on the way is asked for again, not claimed twice. */
  private claimId = newId();

  constructor(
    readonly kind: Task["kind"],
    private readonly outbox: Outbox,
    heartbeatSeconds: number,
  ) {
    super();
    this.beat = window.setInterval(() => void this.heartbeat(), Math.max(5, heartbeatSeconds) * 1000);
    for (const name of ["pointerdown", "pointermove", "keydown"]) addEventListener(name, this.touch, { passive: true });
  }

  close(): void {
    this.closed = true;
    clearInterval(this.beat);
    clearTimeout(this.aheadTimer);
    clearTimeout(this.retryTimer);
    for (const name of ["pointerdown", "pointermove", "keydown"]) removeEventListener(name, this.touch);
  }

  private readonly touch = (): void => {
    this.touched = Date.now();
  };

  /** Go on with what this person holds already, or take something new. */
  async start(): Promise<void> {
    this.become({ name: "loading" });
    try {
      const { tasks } = await api.mine();
      const open: Task[] = [];
      for (const task of tasks.filter((one) => one.kind === this.kind)) {
        if (!(await this.isLeaving(task))) open.push(task);
      }
      if (open.length > 0) {
        this.ahead = open[1] ?? null;
        await this.open(open[0]);
      } else {
        await this.claim();
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** The open task is done or given up (its last write lies in the outbox): on to the next one. */
  async next(): Promise<void> {
    clearTimeout(this.aheadTimer);
    this.become({ name: "loading" });
    await this.outbox.settled(4_000);
    const { ahead } = this;
    this.ahead = null;
    try {
      if (ahead) await this.open(ahead);
      else await this.claim();
    } catch (error) {
      this.fail(error);
    }
  }

  /** Whether a write that ends this task waits in the outbox. */
  private async isLeaving(task: Task): Promise<boolean> {
    const pending = await this.outbox.pending(String(task.id));
    return pending.some(
      (entry) => ["finish", "skip", "release", "review"].includes(entry.kind) && entry.state === "waiting",
    );
  }

  private async claim(): Promise<void> {
    const { task, empty } = await api.claim(this.kind, this.claimId);
    this.claimId = newId();
    if (task) await this.open(task);
    else {
      this.become({ name: "empty", empty: empty ?? { code: "none", message: "There is nothing to do.", counts: {} } });
      this.retryTimer = window.setTimeout(() => void this.start(), RETRY_MS);
    }
  }

  private async open(task: Task): Promise<void> {
    const whole = await this.withPending(task);
    if (this.closed) return;
    this.become({ name: "working", task: whole });
    this.aheadTimer = window.setTimeout(() => void this.claimAhead(whole), AHEAD_AFTER_MS);
  }

  /** The task as it will be once the outbox has been sent. */
  private async withPending(task: Task): Promise<Task> {
    const masks = new Map<string, Mask>(task.masks.filter((one) => one.state === "live").map((one) => [one.id, one]));
    let { redactions } = task;
    for (const entry of await this.outbox.pending(String(task.id))) {
      if (entry.kind === "mask" && entry.after) {
        masks.set(entry.after.id, { ...entry.after, revision: masks.get(entry.after.id)?.revision ?? 0 });
      } else if (entry.kind === "delete" && entry.mask) masks.delete(entry.mask);
      else if (entry.kind === "redactions") redactions = entry.body.boxes as Redaction[];
    }
    return { ...task, masks: [...masks.values()], redactions };
  }

  private async claimAhead(current: Task): Promise<void> {
    if (this.closed || this.ahead) return;
    try {
      const { task } = await api.claim(this.kind, this.claimId);
      this.claimId = newId();
      if (!task || this.closed) return;
      if (task.id === current.id) {
        // The lease of the open image had gone back to the queue, and this claim took it again.
        await this.open(task);
        return;
      }
      this.ahead = task;
      this.onAhead(task);
    } catch {
      // Not being able to look ahead is no failure: the next image is claimed when it is needed.
    }
  }

  private async heartbeat(): Promise<void> {
    if (Date.now() - this.touched > AWAY_MS) return;
    const held = [this.state.name === "working" ? this.state.task : null, this.ahead];
    for (const task of held) {
      if (!task) continue;
      try {
        await api.heartbeat(task);
      } catch (error) {
        if (!(error instanceof ApiError) || error.passing) continue;
        if (error.status === 401) this.outbox.onLoginNeeded();
        else if (task === this.ahead) this.ahead = null;
        else if (error.status === 409) {
          this.outbox.onLostLease({ task: String(task.id), orphan: false, message: error.message });
        }
      }
    }
  }

  /** Give back what was only claimed ahead. */
  async giveBack(): Promise<void> {
    const { ahead } = this;
    this.ahead = null;
    if (!ahead) return;
    const { lease, fence } = ahead;
    await this.outbox.add({
      task: String(ahead.id),
      kind: "release",
      mask: null,
      method: "POST",
      url: `/api/tasks/${encodeURIComponent(String(ahead.id))}/release`,
      body: { lease, fence, mutation: newId() },
      after: null,
    });
  }

  private fail(error: unknown): void {
    const known = error instanceof ApiError ? error : new ApiError(0, "page", String(error));
    if (known.status === 401) this.outbox.onLoginNeeded();
    this.become({ name: "failed", error: known });
    if (known.passing) this.retryTimer = window.setTimeout(() => void this.start(), RETRY_MS);
  }

  private become(state: RunnerState): void {
    clearTimeout(this.retryTimer);
    if (this.closed) return;
    this.state = state;
    this.emit();
  }
}
