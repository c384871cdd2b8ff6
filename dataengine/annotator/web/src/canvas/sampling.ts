/**
 * Masks as the screen sees them: every screen pixel asks which mask pixel lies under it.
 *
 * The cost is that of the stage, whatever the image's size and the number of masks, and outlines stay one
 * screen pixel wide at every zoom. Colours are little-endian RGBA words, as ImageData holds them.
 */
import type { BoxedMask, Frame } from "../masks/boxed";
import type { Size, View } from "./view";

export function rgba(red: number, green: number, blue: number, alpha: number): number {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The index of the pixel under each of `length` screen pixels from `from` on; -1 outside 0..count. */
function pixelsUnder(from: number, length: number, origin: number, scale: number, count: number): Int32Array {
  const under = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    const at = Math.floor((from + i + 0.5 - origin) / scale);
    under[i] = at < 0 || at >= count ? -1 : at;
  }
  return under;
}

/** Where colours come from: `fill[slot]` inside a mask, `edge[slot]` at its borders. */
export interface MaskSource {
  frame: Frame;
  /** The ID buffer: the slot on top at every pixel, column-major. */
  ids: Uint16Array;
  fill: Uint32Array;
  edge: Uint32Array;
}

/** Draw the stage's columns `first` to `end` (exclusive) of the ID buffer into `out` (stage.width x stage.height). */
export function sampleIds(
  { ids, frame, fill, edge }: MaskSource,
  view: View,
  stage: Size,
  out: Uint32Array,
  first = 0,
  end = stage.width,
): void {
  // One more to the left: its pixels tell where masks begin.
  const before = Math.max(0, first - 1);
  const columns = pixelsUnder(before, end - before, view.x, view.scale, frame.width);
  const rows = pixelsUnder(0, stage.height, view.y, view.scale, frame.height);
  const left = new Uint16Array(stage.height);
  for (let sx = before; sx < end; sx++) {
    const column = columns[sx - before];
    const base = column * frame.height;
    let above = 0;
    for (let sy = 0, at = sx; sy < stage.height; sy++, at += stage.width) {
      const row = rows[sy];
      const id = column < 0 || row < 0 ? 0 : ids[base + row];
      if (sx >= first) {
        if (id === above && id === left[sy]) out[at] = fill[id];
        else out[at] = edge[id !== 0 ? id : above !== 0 ? above : left[sy]];
      }
      above = id;
      left[sy] = id;
    }
  }
}

/** One mask into the stage's columns `first` to `end` (exclusive) of `out`. */
export function sampleMask(
  mask: BoxedMask,
  view: View,
  stage: Size,
  out: Uint32Array,
  { fill, edge }: { fill: number; edge: number },
  first = 0,
  end = stage.width,
): void {
  for (let sy = 0; sy < stage.height; sy++) out.fill(0, sy * stage.width + first, sy * stage.width + end);
  const originX = view.x + mask.x * view.scale;
  const originY = view.y + mask.y * view.scale;
  // A pixel of room for the outline, and one more to the left of `first`, which tells where the mask begins.
  const left = Math.max(0, Math.floor(originX) - 1, first - 1);
  const right = Math.min(end, Math.ceil(originX + mask.w * view.scale) + 1);
  const top = Math.max(0, Math.floor(originY) - 1);
  const bottom = Math.min(stage.height, Math.ceil(originY + mask.h * view.scale) + 1);
  if (right <= left || bottom <= top) return;
  const columns = pixelsUnder(left, right - left, originX, view.scale, mask.w);
  const rows = pixelsUnder(top, bottom - top, originY, view.scale, mask.h);
  const before = new Uint8Array(bottom - top);
  for (let sx = left; sx < right; sx++) {
    const column = columns[sx - left];
    const base = column * mask.h;
    let above = 0;
    for (let i = 0, at = top * stage.width + sx; i < before.length; i++, at += stage.width) {
      const one = column < 0 || rows[i] < 0 ? 0 : mask.data[base + rows[i]];
      if (sx >= first) out[at] = one === above && one === before[i] ? (one ? fill : 0) : edge;
      above = one;
      before[i] = one;
    }
  }
}
