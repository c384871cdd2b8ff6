/** The mask in hand: what was pointed at, what the model answered, what the brush made of it. */
import type { Mask, MaskBody, MaskSource } from "../api/types";
import type { Prompt } from "../decoder/geometry";
import { type BoxedMask, emptyMask } from "../masks/boxed";
import type { Rle } from "../masks/rle";

export interface Active {
  /** The committed mask that is being changed; null for a new one. */
  editing: Mask | null;
  prompt: Prompt;
  /** Clicks and boxes so far, those that a later one replaced included. */
  clicks: number;
  /** Logits (4, n, n) and scores of the latest decode. Null after a reload: the mask itself is then the prompt. */
  answer: { logits: Float32Array; scores: number[] } | null;
  chosen: number;
  mask: BoxedMask;
  /** What `mask` was made from when there is no answer: a draft, or a committed mask. Not what strokes made of it. */
  origin: StoredMask | null;
  /** The mask before the first brush stroke. */
  suggestion: StoredMask | null;
  brushed: boolean;
  predictedIou: number | null;
}

export function newActive(): Active {
  return {
    editing: null,
    prompt: { points: [], box: null },
    clicks: 0,
    answer: null,
    chosen: -1,
    mask: emptyMask(),
    origin: null,
    suggestion: null,
    brushed: false,
    predictedIou: null,
  };
}

/** A mask opened again: its clicks are kept as its history, new ones begin a prompt that refines it. */
export function reopened(record: Mask, mask: BoxedMask): Active {
  return {
    ...newActive(),
    editing: record,
    clicks: record.prompts?.clicks ?? 0,
    mask,
    origin: record.rle,
    suggestion: record.suggestion,
    brushed: record.source === "brushed",
    predictedIou: record.predicted_iou,
  };
}

export function sourceOf(active: Active): MaskSource {
  return active.brushed ? "brushed" : "assisted";
}

/**
 * The mask in hand as it came, before any stroke: copying the pixels of a mask that fills a huge image would stop
 * the page, and a worker can make them again from this. Null when it was drawn from nothing.
 */
export function untouched(active: Active): StoredMask | null {
  const { answer, chosen } = active;
  if (!answer) return active.origin;
  const length = answer.logits.length / 4;
  return { logits: answer.logits.slice(chosen * length, (chosen + 1) * length) };
}

/** What the mask in hand was before people drew on it, once they have. */
export function suggestionOf(active: Active): StoredMask | null {
  return active.suggestion ?? (active.brushed ? null : untouched(active));
}

/** The bytes that an undo step with this state keeps alive. */
export function bytesOf(active: Active | null): number {
  return active ? 64 + (active.answer?.logits.byteLength ?? 0) + active.mask.data.length : 64;
}

export function bodyPrompts(active: Active): MaskBody["prompts"] {
  const before = active.editing?.prompts;
  const { points, box } = active.prompt;
  const untouched = before && points.length === 0 && box === null;
  return untouched ? before : { points, box, clicks: active.clicks };
}

/** A mask without its pixels: the model's as its low-resolution logits, a drawn one as run lengths. */
export type StoredMask = Rle | { logits: Float32Array };

export interface StoredActive {
  editing: Mask | null;
  prompt: Prompt;
  clicks: number;
  mask: StoredMask;
  suggestion: StoredMask | null;
  brushed: boolean;
  predictedIou: number | null;
}

/** `encode` copies the mask to a worker, which a mask that fills a huge image should not need at every click. */
export async function store(active: Active, encode: (mask: BoxedMask) => Promise<Rle>): Promise<StoredActive> {
  const { editing, prompt, clicks, brushed, predictedIou, mask, suggestion } = active;
  const kept = brushed ? null : untouched(active);
  return { editing, prompt, clicks, brushed, predictedIou, suggestion, mask: kept ?? (await encode(mask)) };
}

export async function restore(stored: StoredActive, decode: (mask: StoredMask) => Promise<BoxedMask>): Promise<Active> {
  const mask = await decode(stored.mask);
  return { ...newActive(), ...stored, mask, origin: mask.data.length > 0 ? stored.mask : null };
}
