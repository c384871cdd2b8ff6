/**
 * COCO's compressed run-length encoding, bit for bit as pycocotools writes it.
 *
 * Between the string and pixels stand *runs*: a Uint32Array [start0, end0, start1, end1, ...] of the ones, as
 * column-major positions in the frame (column * height + row), ends exclusive, runs that touch merged.
 */
import type { Box, BoxedMask, Frame } from "./boxed";

/** `size` is [height, width] of the frame, `counts` the compressed string. */
export interface Rle {
  size: [number, number];
  counts: string;
}

export type Runs = Uint32Array;

/** Run lengths, zeros first, -> COCO's string: 5 bits a character, from the third on as difference to two before. */
export function compressCounts(counts: ArrayLike<number>): string {
  const codes: number[] = [];
  const parts: string[] = [];
  for (let i = 0; i < counts.length; i++) {
    let value = i > 2 ? counts[i] - counts[i - 2] : counts[i];
    let more = true;
    while (more) {
      let code = value & 0x1f;
      value >>= 5;
      more = code & 0x10 ? value !== -1 : value !== 0;
      if (more) code |= 0x20;
      codes.push(code + 48);
    }
    if (codes.length > 8192) parts.push(String.fromCharCode(...codes.splice(0)));
  }
  return parts.join("") + String.fromCharCode(...codes);
}

/** The reverse. Raises RangeError on a string that no encoder writes. */
export function decompressCounts(text: string): number[] {
  const counts: number[] = [];
  let at = 0;
  while (at < text.length) {
    let value = 0;
    let shift = 0;
    let more = true;
    while (more) {
      if (at >= text.length) throw new RangeError("the run-length string ends inside a number");
      const code = text.charCodeAt(at++) - 48;
      if (code < 0 || code > 63) throw new RangeError(`a run-length string has no character ${code + 48}`);
      value |= (code & 0x1f) << shift;
      more = (code & 0x20) !== 0;
      shift += 5;
      if (!more && code & 0x10 && shift < 32) value |= -1 << shift;
    }
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

export function runsToRle(runs: Runs, frame: Frame): Rle {
  const total = frame.width * frame.height;
  const counts: number[] = [];
  let before = 0;
  for (const position of runs) {
    counts.push(position - before);
    before = position;
  }
  if (before < total || counts.length === 0) counts.push(total - before);
  return { size: [frame.height, frame.width], counts: compressCounts(counts) };
}

/** Raises RangeError when the counts do not fill the frame exactly. */
export function rleToRuns(rle: Rle): Runs {
  const counts = decompressCounts(rle.counts);
  const runs: number[] = [];
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    if (counts[i] < 0) throw new RangeError("a run of negative length");
    const end = at + counts[i];
    if (i % 2 === 1 && end > at) {
      if (runs.length > 0 && runs[runs.length - 1] === at) runs[runs.length - 1] = end;
      else runs.push(at, end);
    }
    at = end;
  }
  if (at !== rle.size[0] * rle.size[1]) throw new RangeError(`runs cover ${at} pixels, the frame has another number`);
  return Uint32Array.from(runs);
}

export function runsOf(mask: BoxedMask, frame: Frame): Runs {
  const { data, h } = mask;
  const runs: number[] = [];
  let start = data.indexOf(1);
  while (start >= 0) {
    let end = data.indexOf(0, start);
    if (end < 0) end = data.length;
    // A run inside the box's columns is one run per column of the frame, unless the box has the frame's height.
    for (let from = start; from < end; ) {
      const column = Math.floor(from / h);
      const to = Math.min(end, (column + 1) * h);
      const base = (mask.x + column) * frame.height + mask.y - column * h;
      if (runs.length > 0 && runs[runs.length - 1] === base + from) runs[runs.length - 1] = base + to;
      else runs.push(base + from, base + to);
      from = to;
    }
    start = end < data.length ? data.indexOf(1, end) : -1;
  }
  return Uint32Array.from(runs);
}

export function runsArea(runs: Runs): number {
  let sum = 0;
  for (let i = 0; i < runs.length; i += 2) sum += runs[i + 1] - runs[i];
  return sum;
}

/** The tightest box around the ones; an empty box at the origin when there are none. */
export function runsBox(runs: Runs, height: number): Box {
  if (runs.length === 0) return { x0: 0, y0: 0, x1: 0, y1: 0 };
  let y0 = height;
  let y1 = 0;
  for (let i = 0; i < runs.length; i += 2) {
    const first = Math.floor(runs[i] / height);
    const last = Math.floor((runs[i + 1] - 1) / height);
    y0 = Math.min(y0, first === last ? runs[i] - first * height : 0);
    y1 = Math.max(y1, first === last ? runs[i + 1] - last * height : height);
  }
  return { x0: Math.floor(runs[0] / height), y0, x1: Math.floor((runs[runs.length - 1] - 1) / height) + 1, y1 };
}

/** Call `visit(column, from, to)` with frame rows for every piece of the runs inside `box`. */
export function eachPiece(
  runs: Runs,
  height: number,
  box: Box,
  visit: (column: number, from: number, to: number) => void,
): void {
  let i = firstRunAfter(runs, box.x0 * height);
  const stop = box.x1 * height;
  for (; i < runs.length && runs[i] < stop; i += 2) {
    const end = Math.min(runs[i + 1], stop);
    let at = Math.max(runs[i], box.x0 * height);
    while (at < end) {
      const column = Math.floor(at / height);
      const base = column * height;
      const columnEnd = Math.min(end, base + height);
      const from = Math.max(at - base, box.y0);
      const to = Math.min(columnEnd - base, box.y1);
      if (to > from) visit(column, from, to);
      at = columnEnd;
    }
  }
}

/** Index (even) of the first run that ends after `position`. */
function firstRunAfter(runs: Runs, position: number): number {
  let low = 0;
  let high = runs.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[2 * middle + 1] > position) high = middle;
    else low = middle + 1;
  }
  return 2 * low;
}

export function runsContain(runs: Runs, position: number): boolean {
  const i = firstRunAfter(runs, position);
  return i < runs.length && runs[i] <= position;
}

export function boxedFromRuns(runs: Runs, height: number): BoxedMask {
  const box = runsBox(runs, height);
  const w = box.x1 - box.x0;
  const h = box.y1 - box.y0;
  const data = new Uint8Array(w * h);
  eachPiece(runs, height, box, (column, from, to) => {
    const base = (column - box.x0) * h - box.y0;
    data.fill(1, base + from, base + to);
  });
  return { x: box.x0, y: box.y0, w, h, data };
}
