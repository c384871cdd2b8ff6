/**
 * A binary mask known only inside a box of the annotation frame.
 *
 * Pixels are 0 or 1 and lie column-major, as in COCO's RLE: pixel (px, py) of the frame is
 * `data[(px - x) * h + (py - y)]`. Column-major turns every run and every brush dab into a few native fills.
 */
export interface BoxedMask {
  x: number;
  y: number;
  w: number;
  h: number;
  data: Uint8Array;
}

/** Width and height of the annotation frame in pixels. */
export interface Frame {
  width: number;
  height: number;
}

/** A box in pixels of the frame: x0 <= px < x1, y0 <= py < y1. */
export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

export function emptyMask(): BoxedMask {
  return { x: 0, y: 0, w: 0, h: 0, data: new Uint8Array(0) };
}

export function boxOf(mask: BoxedMask): Box {
  return { x0: mask.x, y0: mask.y, x1: mask.x + mask.w, y1: mask.y + mask.h };
}

export function isEmptyBox(box: Box): boolean {
  return box.x1 <= box.x0 || box.y1 <= box.y0;
}

export function clipBox(box: Box, frame: Frame): Box {
  return {
    x0: Math.max(0, Math.min(frame.width, box.x0)),
    y0: Math.max(0, Math.min(frame.height, box.y0)),
    x1: Math.max(0, Math.min(frame.width, box.x1)),
    y1: Math.max(0, Math.min(frame.height, box.y1)),
  };
}

export function unionBox(a: Box, b: Box): Box {
  if (isEmptyBox(a)) return b;
  if (isEmptyBox(b)) return a;
  return {
    x0: Math.min(a.x0, b.x0),
    y0: Math.min(a.y0, b.y0),
    x1: Math.max(a.x1, b.x1),
    y1: Math.max(a.y1, b.y1),
  };
}

/** The part that both have; an empty box when there is none. */
export function sharedBox(a: Box, b: Box): Box {
  return {
    x0: Math.max(a.x0, b.x0),
    y0: Math.max(a.y0, b.y0),
    x1: Math.min(a.x1, b.x1),
    y1: Math.min(a.y1, b.y1),
  };
}

export function containsBox(outer: Box, inner: Box): boolean {
  return outer.x0 <= inner.x0 && outer.y0 <= inner.y0 && outer.x1 >= inner.x1 && outer.y1 >= inner.y1;
}

/** A copy of the pixels inside `box`, which may reach beyond the mask's own box (zeros there). */
export function crop(mask: BoxedMask, box: Box): BoxedMask {
  const w = Math.max(0, box.x1 - box.x0);
  const h = Math.max(0, box.y1 - box.y0);
  const out: BoxedMask = { x: box.x0, y: box.y0, w, h, data: new Uint8Array(w * h) };
  const x0 = Math.max(box.x0, mask.x);
  const x1 = Math.min(box.x1, mask.x + mask.w);
  const y0 = Math.max(box.y0, mask.y);
  const y1 = Math.min(box.y1, mask.y + mask.h);
  if (y1 <= y0) return out;
  for (let px = x0; px < x1; px++) {
    const from = (px - mask.x) * mask.h + (y0 - mask.y);
    out.data.set(mask.data.subarray(from, from + (y1 - y0)), (px - out.x) * h + (y0 - out.y));
  }
  return out;
}

/** Room kept around a growing mask, so that a stroke doesn't reallocate at every dab. */
const GROWTH = 96;

/**
 * Make the mask's box cover `box` (clipped to the frame), keeping its pixels; changes `mask` in place.
 * A box that reaches a quarter of the frame becomes the frame: a large mask is copied once and never again.
 */
export function growToCover(mask: BoxedMask, box: Box, frame: Frame): void {
  const wanted = clipBox(box, frame);
  if (isEmptyBox(wanted) || (mask.data.length > 0 && containsBox(boxOf(mask), wanted))) return;
  const union = mask.data.length > 0 ? unionBox(boxOf(mask), wanted) : wanted;
  const roomy = clipBox(
    { x0: union.x0 - GROWTH, y0: union.y0 - GROWTH, x1: union.x1 + GROWTH, y1: union.y1 + GROWTH },
    frame,
  );
  const large = 4 * (roomy.x1 - roomy.x0) * (roomy.y1 - roomy.y0) > frame.width * frame.height;
  Object.assign(mask, crop(mask, large ? { x0: 0, y0: 0, x1: frame.width, y1: frame.height } : roomy));
}

/** Whether no pixel is set: a native search, however large the box. */
export function isEmpty(mask: BoxedMask): boolean {
  return mask.data.indexOf(1) < 0;
}

export function area(mask: BoxedMask): number {
  let sum = 0;
  for (let i = 0; i < mask.data.length; i++) sum += mask.data[i];
  return sum;
}
