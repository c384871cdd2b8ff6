/** Undo and redo as a stack of reversible steps, bounded by the bytes that they hold. */

export interface Step {
  /** What it was, for the button's title. */
  label: string;
  bytes: number;
  undo(): void | Promise<void>;
  redo(): void | Promise<void>;
}

export class History {
  private done: Step[] = [];
  private undone: Step[] = [];

  constructor(private readonly limitBytes: number = 64 * 1024 * 1024) {}

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  get bytes(): number {
    return [...this.done, ...this.undone].reduce((sum, step) => sum + step.bytes, 0);
  }

  get next(): { undo: string | null; redo: string | null } {
    return { undo: this.done.at(-1)?.label ?? null, redo: this.undone.at(-1)?.label ?? null };
  }

  /** Record a step that has been done. The oldest are forgotten when the bound is passed; the last one stays. */
  push(step: Step): void {
    this.undone = [];
    this.done.push(step);
    let held = this.bytes;
    while (held > this.limitBytes && this.done.length > 1) held -= this.done.shift()!.bytes;
  }

  async undo(): Promise<boolean> {
    const step = this.done.pop();
    if (!step) return false;
    this.undone.push(step);
    await step.undo();
    return true;
  }

  async redo(): Promise<boolean> {
    const step = this.undone.pop();
    if (!step) return false;
    this.done.push(step);
    await step.redo();
    return true;
  }

  clear(): void {
    this.done = [];
    this.undone = [];
  }
}
