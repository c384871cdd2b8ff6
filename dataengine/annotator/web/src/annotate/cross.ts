/** The keyboard's pointer: a cross that arrow keys move, so that an image can be done without a mouse. */
import { panBy, toImage, toScreen } from "../canvas/view";
import type { Workspace } from "./workspace";

export class Cross {
  private corner: [number, number] | null = null;

  constructor(private readonly workspace: Workspace) {}

  get at(): { x: number; y: number } | null {
    return this.workspace.scene.marks.cross;
  }

  /** Move by screen pixels; the first move puts the cross in the middle of what is seen. */
  move(dx: number, dy: number): void {
    const { workspace } = this;
    const { stage, frame, scene } = workspace;
    const { at } = this;
    workspace.clock.touch();
    if (!at) {
      const [x, y] = toImage(stage.view, stage.size.width / 2, stage.size.height / 2);
      scene.marks.cross = clamp(x, y, frame.width, frame.height);
    } else {
      const next = clamp(at.x + dx / stage.view.scale, at.y + dy / stage.view.scale, frame.width, frame.height);
      scene.marks.cross = next;
      if (workspace.brushing.drawing) workspace.brushing.to(next.x, next.y);
      this.keepInSight(next);
    }
    if (this.corner && scene.marks.cross) {
      scene.marks.rubber = [...this.corner, scene.marks.cross.x, scene.marks.cross.y];
    }
    workspace.showBrush(scene.marks.cross);
    stage.invalidate("active");
  }

  private keepInSight(at: { x: number; y: number }): void {
    const { stage, frame } = this.workspace;
    const [sx, sy] = toScreen(stage.view, at.x, at.y);
    const margin = 30;
    const dx = sx < margin ? margin - sx : Math.min(0, stage.size.width - margin - sx);
    const dy = sy < margin ? margin - sy : Math.min(0, stage.size.height - margin - sy);
    if (dx !== 0 || dy !== 0) stage.setView(panBy(stage.view, frame, stage.size, dx, dy));
  }

  /** What the left (label 1) or right (label 0) button would do here. */
  press(label: 0 | 1): void {
    const { workspace } = this;
    if (!this.at) this.move(0, 0);
    const { x, y } = this.at!;
    switch (workspace.tool) {
      case "click":
        workspace.prompting.point(x, y, label);
        break;
      case "box":
      case "redact":
        this.pressCorner(x, y);
        break;
      case "select":
        workspace.selectAt(x, y);
        break;
      default:
        // The pen goes down, and up at the next press.
        if (workspace.brushing.drawing) workspace.brushing.end();
        else workspace.brushing.start(x, y, (workspace.tool === "eraser") === (label === 1) ? 0 : 1);
    }
  }

  private pressCorner(x: number, y: number): void {
    const { workspace, corner } = this;
    if (!corner) {
      this.corner = [x, y];
      workspace.say("First corner set. Move the cross and press A again.");
      return;
    }
    this.corner = null;
    workspace.scene.marks.rubber = null;
    const box: [number, number, number, number] = [
      Math.min(corner[0], x),
      Math.min(corner[1], y),
      Math.max(corner[0], x),
      Math.max(corner[1], y),
    ];
    if (box[2] - box[0] < 1 || box[3] - box[1] < 1) return;
    if (workspace.tool === "redact") workspace.redacting.add(box);
    else workspace.prompting.box(box);
  }

  hide(): void {
    this.corner = null;
    if (this.workspace.brushing.drawing) this.workspace.brushing.end();
    this.workspace.scene.marks.cross = null;
    this.workspace.scene.marks.rubber = null;
    this.workspace.stage.invalidate("active");
  }
}

function clamp(x: number, y: number, width: number, height: number): { x: number; y: number } {
  return { x: Math.min(width - 0.5, Math.max(0.5, x)), y: Math.min(height - 0.5, Math.max(0.5, y)) };
}
