/** What a reviewer says about each mask, and of the whole image. */
import type { MaskVerdict } from "../api/types";
import type { Workspace } from "./workspace";

export class Verdicts {
  private readonly byMask = new Map<string, MaskVerdict>();

  constructor(
    private readonly workspace: Workspace,
    known: readonly MaskVerdict[],
  ) {
    for (const one of known) this.byMask.set(one.id, one);
  }

  get(mask: string): MaskVerdict | null {
    return this.byMask.get(mask) ?? null;
  }

  /** Of the masks that are still there. */
  get all(): MaskVerdict[] {
    return [...this.byMask.values()].filter((one) => this.workspace.committed.get(one.id));
  }

  get open(): number {
    return this.workspace.committed.size - this.all.length;
  }

  get rejected(): number {
    return this.all.filter((one) => one.verdict === "reject").length;
  }

  set(mask: string, verdict: MaskVerdict["verdict"], reason: string | null): void {
    this.byMask.set(mask, { id: mask, verdict, reason });
    this.workspace.emit();
  }

  /** Judge the selected mask and go on to the next that has no verdict. */
  judge(verdict: "accept" | "reject", reason: string | null): void {
    const { committed } = this.workspace;
    if (!committed.selected) {
      this.workspace.step(1);
      return;
    }
    this.workspace.clock.touch();
    this.set(committed.selected, verdict, reason);
    const next = committed.list.find((one) => !this.byMask.has(one.record.id));
    if (next) {
      this.workspace.select(next.record.id);
    }
  }

  acceptRest(): void {
    for (const one of this.workspace.committed.list) {
      if (!this.byMask.has(one.record.id)) this.set(one.record.id, "accept", null);
    }
  }
}
