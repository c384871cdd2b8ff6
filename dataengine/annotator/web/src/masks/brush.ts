/** Brush and eraser: a stroke is a chain of discs, recorded as the pixels that it flipped. */
import { type Box, type BoxedMask, clipBox, type Frame, growToCover, isEmptyBox } from "./boxed";

/**
 * Pixels that a stroke flipped: [from0, to0, from1, to1, ...], column-major positions in the frame like runs, but
 * every piece within one column and in the order of painting. No pixel is in two pieces.
 */
export type Flips = Uint32Array;

interface Segment {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/**
 * Set or clear the pixels within `radius` of the segment (x0, y0)-(x1, y1), in place; returns the touched box and
 * adds what changed to `flips`.
 *
 * A pixel belongs to the stroke when its centre does. Column by column the stroke is one interval, in which native
 * searches find what is left to do: going over pixels that are painted already costs next to nothing.
 */
export function paintSegment(
  mask: BoxedMask,
  frame: Frame,
  segment: Segment,
  radius: number,
  value: 0 | 1,
  flips: number[] = [],
): Box {
  const touched = reachOf(segment, radius, frame);
  if (isEmptyBox(touched)) return touched;
  if (value === 1) growToCover(mask, touched, frame);
  const from = Math.max(touched.x0, mask.x);
  const to = Math.min(touched.x1, mask.x + mask.w);
  for (let column = from; column < to; column++) {
    const rows = rowsOfColumn(column + 0.5, segment, radius);
    if (rows === null) continue;
    const top = Math.max(mask.y, touched.y0, Math.ceil(rows[0] - 0.5));
    const bottom = Math.min(mask.y + mask.h, touched.y1, Math.floor(rows[1] - 0.5) + 1);
    if (bottom <= top) continue;
    const base = (column - mask.x) * mask.h - mask.y;
    flipTo(value, mask.data.subarray(base + top, base + bottom), column * frame.height + top, flips);
  }
  return touched;
}

/** Make all of `pixels`, which begin at `position` of the frame, `value`; what was not yet goes into `flips`. */
function flipTo(value: 0 | 1, pixels: Uint8Array, position: number, flips: number[]): void {
  const other = 1 - value;
  let from = pixels.indexOf(other);
  while (from >= 0) {
    let to = pixels.indexOf(value, from);
    if (to < 0) to = pixels.length;
    pixels.fill(value, from, to);
    flips.push(position + from, position + to);
    from = to < pixels.length ? pixels.indexOf(other, to) : -1;
  }
}

/** Give the flipped pixels `value`, in place: the stroke's own does it again, the other one undoes it. */
export function applyFlips(mask: BoxedMask, frame: Frame, flips: Flips, value: 0 | 1): void {
  for (let i = 0; i < flips.length; i += 2) {
    const column = Math.floor(flips[i] / frame.height);
    // Strokes only enlarge a mask's box: what they flipped lies inside.
    const shift = (column - mask.x) * mask.h - mask.y - column * frame.height;
    mask.data.fill(value, flips[i] + shift, flips[i + 1] + shift);
  }
}

function reachOf(segment: Segment, radius: number, frame: Frame): Box {
  const { x0, y0, x1, y1 } = segment;
  return clipBox(
    {
      x0: Math.floor(Math.min(x0, x1) - radius),
      y0: Math.floor(Math.min(y0, y1) - radius),
      x1: Math.ceil(Math.max(x0, x1) + radius) + 1,
      y1: Math.ceil(Math.max(y0, y1) + radius) + 1,
    },
    frame,
  );
}

/** The interval of y where the vertical line at `x` lies within `radius` of the segment: a capsule is convex. */
function rowsOfColumn(x: number, { x0, y0, x1, y1 }: Segment, radius: number): [number, number] | null {
  let top = Number.POSITIVE_INFINITY;
  let bottom = Number.NEGATIVE_INFINITY;
  for (const [cx, cy] of [
    [x0, y0],
    [x1, y1],
  ]) {
    const half = radius * radius - (x - cx) * (x - cx);
    if (half < 0) continue;
    top = Math.min(top, cy - Math.sqrt(half));
    bottom = Math.max(bottom, cy + Math.sqrt(half));
  }
  const dx = x1 - x0;
  const dy = y1 - y0;
  const length = Math.hypot(dx, dy);
  if (length > 0) {
    // The rectangle between the discs: both long sides, where they cross this column.
    const nx = (-dy / length) * radius;
    const ny = (dx / length) * radius;
    for (const side of [1, -1]) {
      const ax = x0 + side * nx;
      const bx = x1 + side * nx;
      if (x < Math.min(ax, bx) || x > Math.max(ax, bx) || ax === bx) continue;
      const cross = y0 + side * ny + ((x - ax) / dx) * dy;
      top = Math.min(top, cross);
      bottom = Math.max(bottom, cross);
    }
  }
  return bottom >= top ? [top, bottom] : null;
}

/** One stroke in the making: paints at once and collects what it flips. It only sets or only clears. */
export class Stroke {
  private readonly flipped: number[] = [];
  private last: { x: number; y: number } | null = null;

  constructor(
    private readonly mask: BoxedMask,
    private readonly frame: Frame,
    private readonly radius: number,
    readonly value: 0 | 1,
  ) {}

  /** Go on to (x, y) in pixels of the frame; returns the box to repaint. */
  to(x: number, y: number): Box {
    const from = this.last ?? { x, y };
    this.last = { x, y };
    const segment = { x0: from.x, y0: from.y, x1: x, y1: y };
    return paintSegment(this.mask, this.frame, segment, this.radius, this.value, this.flipped);
  }

  /** The flipped pixels, or null when the stroke changed nothing. */
  flips(): Flips | null {
    return this.flipped.length === 0 ? null : Uint32Array.from(this.flipped);
  }
}
