/** Where the image lies on the screen: screen = image * scale + (x, y), in CSS pixels of the stage. */
import type { Frame } from "../masks/boxed";

export interface View {
  scale: number;
  x: number;
  y: number;
}

export interface Size {
  width: number;
  height: number;
}

const MARGIN = 24;
const LARGEST_SCALE = 40;

export function fitView(frame: Frame, stage: Size): View {
  const room = { width: Math.max(1, stage.width - 2 * MARGIN), height: Math.max(1, stage.height - 2 * MARGIN) };
  const scale = Math.min(room.width / frame.width, room.height / frame.height, 8);
  return { scale, x: (stage.width - frame.width * scale) / 2, y: (stage.height - frame.height * scale) / 2 };
}

export function toImage(view: View, x: number, y: number): [number, number] {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}

export function toScreen(view: View, x: number, y: number): [number, number] {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/** Zoom by `factor` with the point (x, y) of the screen staying where it is. */
export function zoomAt(view: View, frame: Frame, stage: Size, factor: number, x: number, y: number): View {
  const least = fitView(frame, stage).scale / 2;
  const scale = Math.min(LARGEST_SCALE, Math.max(least, view.scale * factor));
  const [ix, iy] = toImage(view, x, y);
  return keepInSight({ scale, x: x - ix * scale, y: y - iy * scale }, frame, stage);
}

export function panBy(view: View, frame: Frame, stage: Size, dx: number, dy: number): View {
  return keepInSight({ ...view, x: view.x + dx, y: view.y + dy }, frame, stage);
}

/** Some of the image always stays on the stage. */
function keepInSight(view: View, frame: Frame, stage: Size): View {
  const least = 80;
  return {
    scale: view.scale,
    x: Math.min(stage.width - least, Math.max(least - frame.width * view.scale, view.x)),
    y: Math.min(stage.height - least, Math.max(least - frame.height * view.scale, view.y)),
  };
}

/** Show a box with some room around it, never closer than 4 screen pixels a pixel. */
export function focusView(box: { x0: number; y0: number; x1: number; y1: number }, frame: Frame, stage: Size): View {
  const w = Math.max(8, box.x1 - box.x0);
  const h = Math.max(8, box.y1 - box.y0);
  const scale = Math.min(4, (0.6 * stage.width) / w, (0.6 * stage.height) / h);
  const cx = (box.x0 + box.x1) / 2;
  const cy = (box.y0 + box.y1) / 2;
  return keepInSight({ scale, x: stage.width / 2 - cx * scale, y: stage.height / 2 - cy * scale }, frame, stage);
}
