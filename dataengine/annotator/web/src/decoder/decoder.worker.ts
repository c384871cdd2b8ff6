/** Runs the prompt decoder in WebAssembly, off the main thread; keeps the last few embeddings. */

import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import * as ort from "onnxruntime-web/wasm";
import { Arrivals } from "./carrying";
import { type ModelShape, maskToLogits, promptTensors, upscale } from "./geometry";
import { halvesToFloats } from "./half";
import { bestIndex, type DecodeRequest, type DecoderAnswer, type DecoderRequest, type ToWorker } from "./protocol";

// One thread needs no cross-origin isolation, and two were no faster where it was measured.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: wasmUrl };
ort.env.logLevel = "error";

const KEPT_EMBEDDINGS = 4;

class HttpFailure extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let session: ort.InferenceSession | null = null;
let model: ModelShape | null = null;
const arrivals = new Arrivals();
const embeddings = new Map<string, Promise<Float32Array>>();
/** The newest click and the newest hover that still wait. */
const waiting: { click: DecodeRequest | null; hover: DecodeRequest | null } = { click: null, hover: null };
let busy = false;

function answer(message: DecoderAnswer, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}

async function bytesOf(url: string): Promise<ArrayBuffer> {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new HttpFailure(response.status, `${response.status} for ${url}`);
  return response.arrayBuffer();
}

async function load(url: string, shape: ModelShape): Promise<void> {
  const graph = await bytesOf(url);
  session = await ort.InferenceSession.create(graph, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
  model = shape;
  await warmUp(session, shape.embeddingSide);
}

/** The first run is the slow one (memory grows, code is compiled again): it happens before anybody clicks. */
async function warmUp(ready: ort.InferenceSession, side: number): Promise<void> {
  const zeros = (...dims: number[]) =>
    new ort.Tensor("float32", new Float32Array(dims.reduce((product, one) => product * one, 1)), dims);
  await ready.run({
    image_embeddings: zeros(1, 256, side, side),
    point_coords: zeros(1, 2, 2),
    point_labels: zeros(1, 2),
    mask_input: zeros(1, 1, 4 * side, 4 * side),
    has_mask_input: zeros(1),
  });
}

function embeddingOf(url: string): Promise<Float32Array> {
  const known = embeddings.get(url);
  if (known) {
    embeddings.delete(url);
    embeddings.set(url, known);
    return known;
  }
  const coming = bytesOf(url).then(halvesToFloats);
  embeddings.set(url, coming);
  // A failure isn't remembered: after a new login the same address works.
  coming.catch(() => embeddings.delete(url));
  for (const old of embeddings.keys()) {
    if (embeddings.size <= KEPT_EMBEDDINGS) break;
    embeddings.delete(old);
  }
  return coming;
}

async function decode(request: DecodeRequest): Promise<void> {
  if (!session || !model) throw new HttpFailure(0, "the decoder is not loaded");
  const embedding = await embeddingOf(request.embeddingUrl);
  const side = model.embeddingSide;
  const n = 4 * side;
  const { coords, labels } = promptTensors(request.prompt, request.frame, model.inputSize);
  const { previous } = request;
  const dense =
    previous &&
    ("logits" in previous ? previous.logits : maskToLogits(arrivals.claim(previous.mask), request.frame, model));
  const started = performance.now();
  const found = await session.run({
    image_embeddings: new ort.Tensor("float32", embedding, [1, 256, side, side]),
    point_coords: new ort.Tensor("float32", coords, [1, labels.length, 2]),
    point_labels: new ort.Tensor("float32", labels, [1, labels.length]),
    mask_input: new ort.Tensor("float32", dense ?? new Float32Array(n * n), [1, 1, n, n]),
    has_mask_input: new ort.Tensor("float32", Float32Array.of(dense ? 1 : 0), [1]),
  });
  const decodeMs = performance.now() - started;
  const scores = [...(found.predicted_iou.data as Float32Array)];
  const logits = new Float32Array(found.low_res_logits.data as Float32Array);
  const chosen = bestIndex(scores, request.prompt, dense !== null);
  const mask = upscale(logits.subarray(chosen * n * n, (chosen + 1) * n * n), request.frame, model);
  answer({ id: request.id, kind: "decoded", decoded: { logits, scores, chosen, mask, decodeMs } }, [
    logits.buffer,
    mask.data.buffer,
  ]);
}

function fail(id: number, error: unknown): void {
  const status = error instanceof HttpFailure ? error.status : 0;
  answer({ id, kind: "failed", status, message: error instanceof Error ? error.message : String(error) });
}

/** A macrotask's turn, so that newer messages arrive before the next one is picked. */
const breathe = () => new Promise((resolve) => setTimeout(resolve));

async function work(): Promise<void> {
  if (busy) return;
  busy = true;
  await breathe();
  for (let next = waiting.click ?? waiting.hover; next; next = waiting.click ?? waiting.hover) {
    if (next === waiting.click) waiting.click = null;
    else waiting.hover = null;
    try {
      await decode(next);
    } catch (error) {
      fail(next.id, error);
    }
    await breathe();
  }
  busy = false;
}

function drop(older: DecodeRequest): void {
  if (older.previous && "mask" in older.previous) arrivals.claim(older.previous.mask);
  answer({ id: older.id, kind: "dropped" });
}

addEventListener("message", async (event: MessageEvent<ToWorker<DecoderRequest>>) => {
  const request = event.data;
  if (request.kind === "strip") {
    arrivals.take(request);
    return;
  }
  if (request.kind === "decode") {
    const place = request.hover ? "hover" : "click";
    const older = waiting[place];
    if (older) drop(older);
    waiting[place] = request;
    void work();
    return;
  }
  try {
    if (request.kind === "load") {
      await load(request.decoderUrl, request.model);
      answer({ id: request.id, kind: "loaded" });
    } else {
      await embeddingOf(request.embeddingUrl);
      answer({ id: request.id, kind: "fetched" });
    }
  } catch (error) {
    fail(request.id, error);
  }
});
