/** Messages between the page and its two workers. Every request has an id; answers carry it back. Masks go ahead in strips. */
import type { BoxedMask, Frame } from "../masks/boxed";
import type { Rle, Runs } from "../masks/rle";
import type { CarriedMask, Strip } from "./carrying";
import type { ModelShape, Prompt } from "./geometry";

export interface DecodeRequest {
  kind: "decode";
  id: number;
  /** A hover preview gives way to a click, and only the newest of each is decoded. */
  hover: boolean;
  embeddingUrl: string;
  frame: Frame;
  prompt: Prompt;
  /** Logits (n, n) of the mask to refine, or the mask itself when it has none. */
  previous: { logits: Float32Array } | { mask: CarriedMask } | null;
}

export type DecoderRequest =
  | { kind: "load"; id: number; decoderUrl: string; model: ModelShape }
  | { kind: "prefetch"; id: number; embeddingUrl: string }
  | DecodeRequest;

export interface Decoded {
  /** (4, n, n): entry 0 is the single mask, 1..3 the readings of an ambiguous prompt. */
  logits: Float32Array;
  scores: number[];
  /** Which entry `mask` shows. */
  chosen: number;
  mask: BoxedMask;
  /** Milliseconds inside the session. */
  decodeMs: number;
}

export type DecoderAnswer =
  | { id: number; kind: "loaded" }
  | { id: number; kind: "fetched" }
  | { id: number; kind: "decoded"; decoded: Decoded }
  | { id: number; kind: "dropped" }
  | { id: number; kind: "failed"; status: number; message: string };

export type MaskRequest =
  | { kind: "encode"; id: number; mask: CarriedMask; frame: Frame }
  | { kind: "encode-logits"; id: number; logits: Float32Array; frame: Frame; model: ModelShape }
  | { kind: "decode"; id: number; rles: Rle[] }
  | { kind: "unpack"; id: number; rle: Rle }
  | { kind: "clean"; id: number; mask: CarriedMask }
  | { kind: "upscale"; id: number; logits: Float32Array; frame: Frame; model: ModelShape };

export type ToWorker<Request> = Strip | Request;

export interface EncodedMask {
  rle: Rle;
  runs: Runs;
  area: number;
}

export type MaskAnswer =
  | { id: number; kind: "encoded"; encoded: EncodedMask }
  | { id: number; kind: "decoded"; runs: Runs[] }
  | { id: number; kind: "unpacked"; mask: BoxedMask }
  | { id: number; kind: "cleaned"; mask: BoxedMask | null }
  | { id: number; kind: "failed"; message: string };

/** One click without a box asks for the three readings; everything else is unambiguous enough for one mask. */
export function bestIndex(scores: ArrayLike<number>, prompt: Prompt, refining: boolean): number {
  if (refining || prompt.box || prompt.points.length !== 1) return 0;
  let best = 1;
  for (let i = 2; i < 4; i++) if (scores[i] > scores[best]) best = i;
  return best;
}
