/** Small islands and holes, as models leave them: taken out of a mask on request, never silently. */
import { type BoxedMask, isEmpty } from "./boxed";

/** The paper's `min_mask_region_area`. */
export const SMALLEST_REGION = 100;

/**
 * A copy of `mask` without holes and islands under `smallest` pixels (neighbours also across corners, as in the
 * engine's clean-up). When all islands are small the largest stays; null when there was nothing to do.
 */
export function withoutSpecks(mask: BoxedMask, smallest: number = SMALLEST_REGION): BoxedMask | null {
  if (isEmpty(mask)) return null;
  const cleaned = { ...mask, data: mask.data.slice() };
  const holes = flipSmall(cleaned, 0, smallest);
  const islands = flipSmall(cleaned, 1, smallest);
  return holes || islands ? cleaned : null;
}

/** Flip, in place, the regions of `value` that are too small; a region of zeros at the box's border is no hole. */
function flipSmall(mask: BoxedMask, value: 0 | 1, smallest: number): boolean {
  const { data, w, h } = mask;
  const seen = new Uint8Array(data.length);
  const queue = new Int32Array(data.length);
  let largest: Int32Array = queue.subarray(0, 0);
  let flipped = false;
  let kept = false;
  for (let seed = data.indexOf(value); seed >= 0; seed = data.indexOf(value, seed + 1)) {
    if (seen[seed]) continue;
    const { size, border } = flood(data, w, h, seed, value, seen, queue);
    if (size >= smallest || (value === 0 && border)) {
      kept = true;
      continue;
    }
    if (size > largest.length) largest = queue.slice(0, size);
    for (let i = 0; i < size; i++) data[queue[i]] = 1 - value;
    flipped = true;
  }
  if (value === 1 && !kept) for (const at of largest) data[at] = 1;
  return flipped;
}

function flood(
  data: Uint8Array,
  w: number,
  h: number,
  seed: number,
  value: 0 | 1,
  seen: Uint8Array,
  queue: Int32Array,
): { size: number; border: boolean } {
  let size = 0;
  let border = false;
  queue[size++] = seed;
  seen[seed] = 1;
  for (let head = 0; head < size; head++) {
    const column = Math.floor(queue[head] / h);
    const row = queue[head] - column * h;
    if (column === 0 || row === 0 || column === w - 1 || row === h - 1) border = true;
    for (let x = Math.max(0, column - 1); x <= Math.min(w - 1, column + 1); x++) {
      for (let y = Math.max(0, row - 1); y <= Math.min(h - 1, row + 1); y++) {
        const at = x * h + y;
        if (data[at] !== value || seen[at]) continue;
        seen[at] = 1;
        queue[size++] = at;
      }
    }
  }
  return { size, border };
}
