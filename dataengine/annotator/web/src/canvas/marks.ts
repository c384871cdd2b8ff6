/** What is drawn as lines over the mask in hand: clicks, boxes, the brush's ring, the keyboard's cross. */
import type { RedactionKind } from "../api/types";
import type { View } from "./view";

type BoxTuple = [number, number, number, number];

/** All in pixels of the annotation frame. */
export interface Marks {
  points: [number, number, 0 | 1][];
  box: BoxTuple | null;
  /** The box being drawn. */
  rubber: BoxTuple | null;
  brush: { x: number; y: number; radius: number; erase: boolean } | null;
  cross: { x: number; y: number } | null;
  redactions: { kind: RedactionKind; box: BoxTuple; selected: boolean }[];
}

export function noMarks(): Marks {
  return { points: [], box: null, rubber: null, brush: null, cross: null, redactions: [] };
}

const OBJECT = "#22c55e";
const BACKGROUND = "#ef4444";
const REDACTION = "#f5a524";

export function drawMarks(context: CanvasRenderingContext2D, marks: Marks, view: View): void {
  for (const one of marks.redactions) drawRedaction(context, one.kind, screenBox(one.box, view), one.selected);
  for (const box of [marks.box, marks.rubber]) {
    if (box) drawBox(context, screenBox(box, view));
  }
  for (const [x, y, label] of marks.points) {
    drawPoint(context, x * view.scale + view.x, y * view.scale + view.y, label === 1);
  }
  if (marks.brush) drawBrush(context, marks.brush, view);
  if (marks.cross) drawCross(context, marks.cross.x * view.scale + view.x, marks.cross.y * view.scale + view.y);
}

function screenBox(box: BoxTuple, view: View): BoxTuple {
  const x0 = Math.min(box[0], box[2]) * view.scale + view.x;
  const y0 = Math.min(box[1], box[3]) * view.scale + view.y;
  return [x0, y0, Math.abs(box[2] - box[0]) * view.scale, Math.abs(box[3] - box[1]) * view.scale];
}

function drawBox(context: CanvasRenderingContext2D, box: BoxTuple): void {
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / .55)";
  context.strokeRect(...box);
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  context.strokeStyle = "#fff";
  context.strokeRect(...box);
  context.setLineDash([]);
}

function drawRedaction(context: CanvasRenderingContext2D, kind: string, box: BoxTuple, selected: boolean): void {
  context.fillStyle = selected ? "rgb(245 165 36 / .28)" : "rgb(245 165 36 / .1)";
  context.fillRect(...box);
  context.lineWidth = selected ? 2.5 : 1.5;
  context.strokeStyle = REDACTION;
  context.setLineDash([4, 3]);
  context.strokeRect(...box);
  context.setLineDash([]);
  context.font = "600 11px system-ui, sans-serif";
  const width = context.measureText(kind).width + 8;
  context.fillStyle = REDACTION;
  context.fillRect(box[0], box[1] - 15, width, 15);
  context.fillStyle = "#201400";
  context.fillText(kind, box[0] + 4, box[1] - 4);
}

function drawPoint(context: CanvasRenderingContext2D, x: number, y: number, object: boolean): void {
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.fillStyle = object ? OBJECT : BACKGROUND;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3.2, y);
  context.lineTo(x + 3.2, y);
  if (object) {
    context.moveTo(x, y - 3.2);
    context.lineTo(x, y + 3.2);
  }
  context.stroke();
}

function drawBrush(context: CanvasRenderingContext2D, brush: NonNullable<Marks["brush"]>, view: View): void {
  context.beginPath();
  context.arc(
    brush.x * view.scale + view.x,
    brush.y * view.scale + view.y,
    Math.max(1, brush.radius * view.scale),
    0,
    2 * Math.PI,
  );
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / .5)";
  context.stroke();
  context.lineWidth = 1.5;
  context.strokeStyle = brush.erase ? "#ff8a80" : "#fff";
  context.stroke();
}

function drawCross(context: CanvasRenderingContext2D, x: number, y: number): void {
  for (const [width, colour] of [
    [4, "rgb(0 0 0 / .6)"],
    [1.5, "#ffd166"],
  ] as const) {
    context.beginPath();
    context.moveTo(x - 16, y);
    context.lineTo(x - 4, y);
    context.moveTo(x + 4, y);
    context.lineTo(x + 16, y);
    context.moveTo(x, y - 16);
    context.lineTo(x, y - 4);
    context.moveTo(x, y + 4);
    context.lineTo(x, y + 16);
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }
}
