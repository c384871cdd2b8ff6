/** Mouse, pen and fingers on the stage -> what they mean for the workspace. */
import { panBy, toImage, zoomAt } from "../canvas/view";
import type { Workspace } from "./workspace";

type Drag =
  | { kind: "pan"; x: number; y: number }
  | { kind: "box"; x: number; y: number; moved: boolean }
  | { kind: "stroke" }
  | null;

/** Screen pixels a press may wander and still be a click. */
const CLICK_SLACK = 5;

export class Gestures {
  /** Space is held: the left button pans. */
  panning = false;
  /** Where the pointer was last, in CSS pixels of the stage. */
  pointer: { x: number; y: number } | null = null;
  private drag: Drag = null;
  private readonly touches = new Map<number, { x: number; y: number }>();
  private readonly detach: () => void;

  constructor(
    private readonly root: HTMLElement,
    private readonly workspace: Workspace,
  ) {
    const listeners: [string, (event: never) => void, AddEventListenerOptions?][] = [
      ["pointerdown", this.down],
      ["pointermove", this.move],
      ["pointerup", this.up],
      ["pointercancel", this.up],
      ["pointerleave", this.leave],
      ["wheel", this.wheel, { passive: false }],
      ["contextmenu", (event: Event) => event.preventDefault()],
      ["dblclick", this.doubleClick],
    ];
    for (const [name, listener, options] of listeners) root.addEventListener(name, listener as EventListener, options);
    this.detach = () => {
      for (const [name, listener] of listeners) root.removeEventListener(name, listener as EventListener);
    };
  }

  close(): void {
    this.detach();
  }

  private at(event: PointerEvent | WheelEvent | MouseEvent): { x: number; y: number } {
    const box = this.root.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private image(x: number, y: number): [number, number] {
    const { frame, stage } = this.workspace;
    const [ix, iy] = toImage(stage.view, x, y);
    return [Math.min(frame.width, Math.max(0, ix)), Math.min(frame.height, Math.max(0, iy))];
  }

  private inside(x: number, y: number): boolean {
    const { frame, stage } = this.workspace;
    const [ix, iy] = toImage(stage.view, x, y);
    return ix >= 0 && iy >= 0 && ix < frame.width && iy < frame.height;
  }

  private readonly down = (event: PointerEvent): void => {
    const { workspace } = this;
    if (!workspace.ready) return;
    const { x, y } = this.at(event);
    this.pointer = { x, y };
    this.root.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, { x, y });
      if (this.touches.size === 2) {
        // The second finger makes a pinch of what the first one began.
        if (this.drag?.kind === "stroke") workspace.brushing.end();
        this.drag = null;
        return;
      }
    }
    workspace.scene.marks.cross = null;
    workspace.clock.touch();
    const right = event.button === 2;
    if (event.button === 1 || this.panning) this.drag = { kind: "pan", x, y };
    else if (workspace.tool === "brush" || workspace.tool === "eraser") {
      const erase = (workspace.tool === "eraser") !== right;
      const [ix, iy] = this.image(x, y);
      workspace.brushing.start(ix, iy, erase ? 0 : 1);
      if (workspace.brushing.drawing) this.drag = { kind: "stroke" };
    } else if (right || (event.altKey && workspace.tool === "click")) {
      if (workspace.tool === "click" && this.inside(x, y)) workspace.prompting.point(...this.image(x, y), 0);
    } else this.drag = { kind: "box", x, y, moved: false };
  };

  private readonly move = (event: PointerEvent): void => {
    const { workspace } = this;
    const { x, y } = this.at(event);
    if (event.pointerType === "touch" && this.touches.has(event.pointerId) && this.touches.size === 2) {
      this.pinch(event.pointerId, x, y);
      return;
    }
    this.pointer = { x, y };
    const { drag } = this;
    const [ix, iy] = toImage(workspace.stage.view, x, y);
    workspace.showBrush({ x: ix, y: iy });
    if (drag?.kind === "pan") {
      const { view, size } = workspace.stage;
      workspace.stage.setView(panBy(view, workspace.frame, size, x - drag.x, y - drag.y));
      drag.x = x;
      drag.y = y;
    } else if (drag?.kind === "stroke") {
      for (const one of event.getCoalescedEvents?.() ?? [event]) {
        const place = this.at(one);
        workspace.brushing.to(...toImage(workspace.stage.view, place.x, place.y));
      }
    } else if (drag?.kind === "box" && workspace.tool !== "select") {
      drag.moved ||= Math.hypot(x - drag.x, y - drag.y) > CLICK_SLACK;
      if (drag.moved) {
        workspace.scene.marks.rubber = [...this.image(drag.x, drag.y), ...this.image(x, y)];
        workspace.stage.invalidate("active");
      }
    } else if (!drag && workspace.tool === "click" && workspace.hoverOn && workspace.ready && !workspace.active) {
      if (this.inside(x, y) && event.pointerType !== "touch") workspace.prompting.hover(ix, iy);
      else workspace.prompting.stopHover();
    }
  };

  private readonly up = (event: PointerEvent): void => {
    const { workspace, drag } = this;
    this.touches.delete(event.pointerId);
    this.drag = null;
    const { x, y } = this.at(event);
    workspace.scene.marks.rubber = null;
    workspace.stage.invalidate("active");
    if (drag?.kind === "stroke") workspace.brushing.end();
    if (drag?.kind !== "box" || event.type === "pointercancel") return;
    const from = this.image(drag.x, drag.y);
    const to = this.image(x, y);
    if (drag.moved) this.boxed(from, to);
    else this.clicked(event, x, y, to);
  };

  private boxed(from: [number, number], to: [number, number]): void {
    const { workspace } = this;
    const box: [number, number, number, number] = [
      Math.min(from[0], to[0]),
      Math.min(from[1], to[1]),
      Math.max(from[0], to[0]),
      Math.max(from[1], to[1]),
    ];
    if (box[2] - box[0] < 1 || box[3] - box[1] < 1) return;
    if (workspace.tool === "redact") workspace.redacting.add(box);
    else workspace.prompting.box(box);
  }

  private clicked(event: PointerEvent, x: number, y: number, at: [number, number]): void {
    const { workspace } = this;
    if (!this.inside(x, y)) return;
    if (workspace.tool === "redact") workspace.redacting.selectAt(...at);
    else if (workspace.tool === "select" || event.shiftKey) workspace.selectAt(...at);
    else if (workspace.tool === "click") workspace.prompting.point(...at, 1);
    else workspace.say("Drag from corner to corner to draw the box.");
  }

  private pinch(id: number, x: number, y: number): void {
    const { workspace } = this;
    const before = [...this.touches.values()];
    this.touches.set(id, { x, y });
    const now = [...this.touches.values()];
    const gap = (pair: { x: number; y: number }[]) => Math.hypot(pair[0].x - pair[1].x, pair[0].y - pair[1].y);
    const middle = (pair: { x: number; y: number }[]) => ({
      x: (pair[0].x + pair[1].x) / 2,
      y: (pair[0].y + pair[1].y) / 2,
    });
    const [a, b] = [middle(before), middle(now)];
    const { stage, frame } = workspace;
    const moved = panBy(stage.view, frame, stage.size, b.x - a.x, b.y - a.y);
    stage.setView(zoomAt(moved, frame, stage.size, gap(now) / Math.max(1, gap(before)), b.x, b.y));
  }

  private readonly leave = (): void => {
    this.pointer = null;
    this.workspace.showBrush(null);
    this.workspace.prompting.stopHover();
  };

  private readonly wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const { stage, frame } = this.workspace;
    const { x, y } = this.at(event);
    if (event.shiftKey) {
      stage.setView(panBy(stage.view, frame, stage.size, -(event.deltaX || event.deltaY), 0));
      return;
    }
    // A pinch on a touchpad arrives as small steps with the control key.
    const strength = event.ctrlKey ? 0.012 : event.deltaMode === 1 ? 0.05 : 0.0016;
    const factor = Math.exp(-Math.max(-200, Math.min(200, event.deltaY)) * strength);
    stage.setView(zoomAt(stage.view, frame, stage.size, factor, x, y));
  };

  private readonly doubleClick = (): void => {
    if (this.workspace.tool === "select") this.workspace.edit();
  };
}
