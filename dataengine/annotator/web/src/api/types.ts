/** The records of the HTTP API, as the server sends them. Frames: see `masks/boxed.ts`. */
import type { Rle } from "../masks/rle";

export type Role = "annotator" | "reviewer" | "admin" | "service";

/** The server's own numbers; the page only compares and repeats them. */
export type Id = number | string;

export interface User {
  id: Id;
  name: string;
  role: Role;
  /** Set until a person who came by the one-time link has chosen a name and a password. */
  must_set_password?: boolean;
  active?: boolean;
}

export interface Model {
  id: string;
  name: string;
  encoder: string;
  input_size: number;
  embedding_shape: [number, number, number];
  mask_threshold: number;
  decoder_url: string;
}

export type Counts = Record<string, number>;

export interface EngineState {
  home: string;
  stage: "assisted-manual" | "semi-automatic";
  nudge_seconds: number;
  lease_seconds: number;
  heartbeat_seconds: number;
  skip_reasons: string[];
  reject_reasons: string[];
  model: Model | null;
  counts: Counts;
}

export interface ImageInfo {
  id: Id;
  width: number;
  height: number;
  name: string;
  display_url: string;
  pyramid: { width: number; height: number; url: string }[];
  embedding_url: string;
  encoder: string;
}

export type MaskSource = "assisted" | "brushed" | "prefill" | "automatic";

export interface Prompts {
  points: [number, number, 0 | 1][];
  box: [number, number, number, number] | null;
  clicks: number;
}

export interface Mask {
  id: string;
  rle: Rle;
  bbox: [number, number, number, number];
  area: number;
  source: MaskSource;
  locked: boolean;
  score: number | null;
  predicted_iou: number | null;
  model: string | null;
  prompts: Prompts | null;
  suggestion: Rle | null;
  active_ms: number;
  revision: number;
  state: "live" | "deleted";
  prominence: number;
  group: boolean;
}

export type RedactionKind = "face" | "plate" | "other";

export interface Redaction {
  id: string;
  kind: RedactionKind;
  box: [number, number, number, number];
  state: "live" | "deleted";
}

export interface MaskVerdict {
  id: string;
  verdict: "accept" | "reject" | "fixed";
  reason: string | null;
}

export interface Task {
  id: Id;
  kind: "annotate" | "review";
  stage: string;
  pass: number;
  state: string;
  lease: string;
  fence: number;
  expires_at: string;
  /** The model that was in use when the lease was given: its holder finishes on it. */
  model: Model | null;
  image: ImageInfo;
  masks: Mask[];
  redactions: Redaction[];
  exhaustive: boolean | null;
  review: { verdict: string; reason: string | null; masks?: MaskVerdict[] } | null;
}

export interface Empty {
  code: string;
  message: string;
  counts: Counts;
}

/** What a mask is sent as; id, lease and revision travel beside it. */
export interface MaskBody {
  rle: Rle;
  source: MaskSource;
  prompts: Prompts | null;
  suggestion: Rle | null;
  predicted_iou: number | null;
  model: string | null;
  active_ms: number;
  prominence: number;
  group: boolean;
}

export interface Totals {
  masks: number;
  images: number;
  seconds_per_mask: number | null;
  clicks_per_mask: number | null;
  accepted: number;
  rejected: number;
}
