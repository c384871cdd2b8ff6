/** Between the annotation frame and the model: prompts go in, low-resolution logits come back as pixels. */
import { type BoxedMask, emptyMask, type Frame } from "../masks/boxed";

/** What a person pointed at, in pixels of the annotation frame. Label 1 = object, 0 = background. */
export interface Prompt {
  points: [number, number, 0 | 1][];
  box: [number, number, number, number] | null;
}

/** The model's input is a square of `inputSize` into which the image is resized by its longest side. */
export interface ModelShape {
  inputSize: number;
  /** Side of the image embedding; logits have four times as many. */
  embeddingSide: number;
  threshold: number;
}

/** Size of the resized image inside the square, rounded as `Sam.input_size` rounds. */
export function resizedSize(frame: Frame, inputSize: number): Frame {
  const scale = inputSize / Math.max(frame.height, frame.width);
  return {
    width: Math.max(1, Math.floor(frame.width * scale + 0.5)),
    height: Math.max(1, Math.floor(frame.height * scale + 0.5)),
  };
}

/** Coordinates and labels as the decoder's graph wants them; a prompt without a box ends with a padding point. */
export function promptTensors(
  prompt: Prompt,
  frame: Frame,
  inputSize: number,
): { coords: Float32Array; labels: Float32Array } {
  const size = resizedSize(frame, inputSize);
  const sx = size.width / frame.width;
  const sy = size.height / frame.height;
  const coords: number[] = [];
  const labels: number[] = [];
  for (const [x, y, label] of prompt.points) {
    coords.push(x * sx, y * sy);
    labels.push(label);
  }
  if (prompt.box) {
    const [x0, y0, x1, y1] = prompt.box;
    coords.push(x0 * sx, y0 * sy, x1 * sx, y1 * sy);
    labels.push(2, 3);
  } else {
    coords.push(0, 0);
    labels.push(-1);
  }
  return { coords: Float32Array.from(coords), labels: Float32Array.from(labels) };
}

/** Bilinear weights without aligned corners, as PyTorch's `interpolate`: source index, the next one, its share. */
function taps(from: number, to: number, count: number, start: number, length: number) {
  const low = new Int32Array(length);
  const high = new Int32Array(length);
  const share = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    const at = Math.max(0, ((start + i + 0.5) * from) / to - 0.5);
    low[i] = Math.min(count - 1, Math.floor(at));
    high[i] = Math.min(count - 1, low[i] + 1);
    share[i] = at - low[i];
  }
  return { low, high, share };
}

/**
 * Logits (n, n), row-major, over the padded square -> the mask in the frame, tight around its ones.
 *
 * In two bilinear steps like `Sam.upsample` (to the square, then to the frame), so that page and engine agree;
 * only the part that holds something is computed. An empty answer is an ordinary one.
 */
export function upscale(logits: Float32Array, frame: Frame, model: ModelShape): BoxedMask {
  const n = 4 * model.embeddingSide;
  const size = resizedSize(frame, model.inputSize);
  const found = positiveBox(logits, n, model.threshold);
  if (found === null) return emptyMask();
  // One low-resolution pixel of room on each side: bilinear weights reach no further.
  const cell = model.inputSize / n;
  const inner = {
    x0: Math.max(0, Math.floor((found.x0 - 1) * cell)),
    y0: Math.max(0, Math.floor((found.y0 - 1) * cell)),
    x1: Math.min(size.width, Math.ceil((found.x1 + 1) * cell)),
    y1: Math.min(size.height, Math.ceil((found.y1 + 1) * cell)),
  };
  const w = inner.x1 - inner.x0;
  const h = inner.y1 - inner.y0;
  if (w <= 0 || h <= 0) return emptyMask();
  const square = resample(logits, n, n, model.inputSize, { x: inner.x0, y: inner.y0, w, h });
  return thresholdInFrame(square, inner.x0, inner.y0, w, h, size, frame, model.threshold);
}

function positiveBox(logits: Float32Array, n: number, threshold: number) {
  let x0 = n;
  let y0 = n;
  let x1 = 0;
  let y1 = 0;
  for (let y = 0; y < n; y++) {
    for (let x = 0; x < n; x++) {
      if (logits[y * n + x] <= threshold) continue;
      if (x < x0) x0 = x;
      if (x >= x1) x1 = x + 1;
      if (y < y0) y0 = y;
      if (y >= y1) y1 = y + 1;
    }
  }
  return x1 > x0 ? { x0, y0, x1, y1 } : null;
}

/** The part `at` of a square (n, n) picture that is enlarged to (to, to). */
function resample(
  source: Float32Array,
  n: number,
  stride: number,
  to: number,
  at: { x: number; y: number; w: number; h: number },
): Float32Array {
  const across = taps(n, to, n, at.x, at.w);
  const down = taps(n, to, n, at.y, at.h);
  const out = new Float32Array(at.w * at.h);
  const row = new Float32Array(n);
  for (let y = 0; y < at.h; y++) {
    const upper = down.low[y] * stride;
    const lower = down.high[y] * stride;
    const v = down.share[y];
    for (let x = 0; x < n; x++) row[x] = source[upper + x] * (1 - v) + source[lower + x] * v;
    for (let x = 0; x < at.w; x++) {
      const u = across.share[x];
      out[y * at.w + x] = row[across.low[x]] * (1 - u) + row[across.high[x]] * u;
    }
  }
  return out;
}

function thresholdInFrame(
  square: Float32Array,
  left: number,
  top: number,
  w: number,
  h: number,
  size: Frame,
  frame: Frame,
  threshold: number,
): BoxedMask {
  const x0 = Math.max(0, Math.floor((left / size.width) * frame.width) - 1);
  const y0 = Math.max(0, Math.floor((top / size.height) * frame.height) - 1);
  const x1 = Math.min(frame.width, Math.ceil(((left + w) / size.width) * frame.width) + 1);
  const y1 = Math.min(frame.height, Math.ceil(((top + h) / size.height) * frame.height) + 1);
  const columns = taps(size.width, frame.width, size.width, x0, x1 - x0);
  const rows = taps(size.height, frame.height, size.height, y0, y1 - y0);
  const data = new Uint8Array((x1 - x0) * (y1 - y0));
  const height = y1 - y0;
  const inside = (value: number, start: number, length: number) => Math.min(length - 1, Math.max(0, value - start));
  const upper = rows.low.map((value) => inside(value, top, h) * w);
  const lower = rows.high.map((value) => inside(value, top, h) * w);
  let minX = x1;
  let maxX = -1;
  let minY = y1;
  let maxY = -1;
  for (let px = 0; px < x1 - x0; px++) {
    const a = inside(columns.low[px], left, w);
    const b = inside(columns.high[px], left, w);
    const u = columns.share[px];
    for (let py = 0; py < height; py++) {
      const v = rows.share[py];
      const above = square[upper[py] + a] * (1 - u) + square[upper[py] + b] * u;
      const below = square[lower[py] + a] * (1 - u) + square[lower[py] + b] * u;
      if (above * (1 - v) + below * v <= threshold) continue;
      data[px * height + py] = 1;
      if (px < minX) minX = px;
      if (px > maxX) maxX = px;
      if (py < minY) minY = py;
      if (py > maxY) maxY = py;
    }
  }
  if (maxX < 0) return emptyMask();
  const mask = { x: x0 + minX, y: y0 + minY, w: maxX - minX + 1, h: maxY - minY + 1 };
  const tight = new Uint8Array(mask.w * mask.h);
  for (let column = 0; column < mask.w; column++) {
    const from = (minX + column) * height + minY;
    tight.set(data.subarray(from, from + mask.h), column * mask.h);
  }
  return { ...mask, data: tight };
}

/** Confidence given to pixels that a person drew: about what the model itself says of pixels it is sure of. */
const DRAWN = 8;

/**
 * A mask that has no logits of its own (brushed, prefilled, reopened) as a prompt for the next decode.
 * Each low-resolution pixel gets the share of ones under it, from -8 (none) to 8 (all).
 */
export function maskToLogits(mask: BoxedMask, frame: Frame, model: ModelShape): Float32Array {
  const n = 4 * model.embeddingSide;
  const size = resizedSize(frame, model.inputSize);
  const perX = (frame.width / size.width) * (model.inputSize / n);
  const perY = (frame.height / size.height) * (model.inputSize / n);
  const logits = new Float32Array(n * n).fill(-DRAWN);
  const x1 = Math.min(n, Math.ceil((mask.x + mask.w) / perX));
  const y1 = Math.min(n, Math.ceil((mask.y + mask.h) / perY));
  for (let y = Math.floor(mask.y / perY); y < y1; y++) {
    for (let x = Math.floor(mask.x / perX); x < x1; x++) {
      logits[y * n + x] = DRAWN * (2 * shareOfOnes(mask, x * perX, y * perY, perX, perY) - 1);
    }
  }
  return logits;
}

function shareOfOnes(mask: BoxedMask, left: number, top: number, w: number, h: number): number {
  const x1 = Math.max(Math.floor(left) + 1, Math.floor(left + w));
  const y1 = Math.max(Math.floor(top) + 1, Math.floor(top + h));
  let ones = 0;
  let all = 0;
  for (let px = Math.floor(left); px < x1; px++) {
    for (let py = Math.floor(top); py < y1; py++) {
      all++;
      const x = px - mask.x;
      const y = py - mask.y;
      if (x >= 0 && y >= 0 && x < mask.w && y < mask.h) ones += mask.data[x * mask.h + y];
    }
  }
  return ones / all;
}
