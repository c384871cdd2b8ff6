/** Brush and eraser on the mask in hand: every stroke is the pixels that it flipped, in the history. */
import { isEmpty } from "../masks/boxed";
import { applyFlips, type Flips, Stroke } from "../masks/brush";
import { type Active, newActive, suggestionOf } from "./active";
import type { Workspace } from "./workspace";

export class Brushing {
  private stroke: Stroke | null = null;
  private before: Active | null = null;

  constructor(private readonly workspace: Workspace) {}

  get drawing(): boolean {
    return this.stroke !== null;
  }

  start(x: number, y: number, value: 0 | 1): void {
    const { workspace } = this;
    // What is drawn now would belong to nothing.
    if (workspace.committing.leaving) return;
    if (value === 0 && !workspace.active) {
      workspace.say("There is no mask in hand to erase from. Select one and press Enter to change it.");
      return;
    }
    this.before = workspace.active;
    const active = workspace.active ?? newActive();
    if (!workspace.active) workspace.replaceActive(active);
    this.stroke = new Stroke(active.mask, workspace.frame, workspace.brushRadius, value);
    this.to(x, y);
  }

  to(x: number, y: number): void {
    if (!this.stroke) return;
    this.workspace.clock.touch();
    this.workspace.stage.touched(this.stroke.to(x, y));
  }

  end(): void {
    const { workspace, before } = this;
    const { stroke } = this;
    const flips = stroke?.flips() ?? null;
    this.stroke = null;
    const drawn = workspace.active;
    if (!stroke || !flips || !drawn) {
      if (before === null && drawn && isEmpty(drawn.mask)) workspace.replaceActive(null);
      return;
    }
    // The state before holds the same pixels object: strokes change it in place, undo changes it back.
    const after: Active = { ...drawn, suggestion: suggestionOf(drawn), brushed: true };
    workspace.replaceActive(after);
    this.record(before, after, flips, stroke.value);
  }

  private record(before: Active | null, after: Active, flips: Flips, value: 0 | 1): void {
    const { workspace } = this;
    workspace.history.push({
      label: "stroke",
      bytes: flips.byteLength + 64,
      undo: () => {
        applyFlips(after.mask, workspace.frame, flips, value === 1 ? 0 : 1);
        workspace.replaceActive(before);
      },
      redo: () => {
        applyFlips(after.mask, workspace.frame, flips, value);
        workspace.replaceActive(after);
      },
    });
    workspace.emit();
  }

  /** Take small islands and holes out of the mask in hand: one step that can be undone. */
  clean(): Promise<void> {
    const { workspace } = this;
    return workspace.serial(async () => {
      const { active } = workspace;
      if (!active || this.drawing) return;
      const mask = await workspace.around.masks.clean(active.mask);
      if (workspace.active !== active) return;
      if (!mask) {
        workspace.say("There are no specks in this mask.");
        return;
      }
      const after: Active = { ...active, mask, suggestion: suggestionOf(active), brushed: true };
      workspace.replaceActive(after);
      workspace.history.push({
        label: "clean-up",
        bytes: active.mask.data.length,
        undo: () => workspace.replaceActive(active),
        redo: () => workspace.replaceActive(after),
      });
      workspace.emit();
    });
  }
}
