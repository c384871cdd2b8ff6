/** The page's side of the two workers, and the server as the decoder of last resort. */
import { ApiError, api } from "../api/client";
import type { Id, Model } from "../api/types";
import type { BoxedMask, Frame } from "../masks/boxed";
import type { Rle, Runs } from "../masks/rle";
import { type CarriedMask, carry } from "./carrying";
import type { ModelShape, Prompt } from "./geometry";
import { base64ToBytes, bytesToBase64, floatsToHalves, halvesToFloats } from "./half";
import {
  bestIndex,
  type Decoded,
  type DecodeRequest,
  type DecoderAnswer,
  type EncodedMask,
  type MaskAnswer,
} from "./protocol";

type Waiting<Answer> = { resolve: (answer: Answer) => void; reject: (error: Error) => void };
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/** Requests with ids over one worker; a worker that dies fails everything that waits for it. */
class Line<Request, Answer extends { id: number }> {
  private next = 1;
  private readonly waiting = new Map<number, Waiting<Answer>>();

  constructor(private readonly worker: Worker) {
    worker.onmessage = (event: MessageEvent<Answer>) => {
      this.waiting.get(event.data.id)?.resolve(event.data);
      this.waiting.delete(event.data.id);
    };
    worker.onerror = (event) => {
      for (const one of this.waiting.values()) one.reject(new Error(event.message || "the worker failed to start"));
      this.waiting.clear();
    };
  }

  ask(request: WithoutId<Request>, transfer: Transferable[] = []): Promise<Answer> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ ...request, id }, transfer);
    });
  }

  close(): void {
    this.worker.terminate();
  }

  /** The mask's pixels go ahead of the request that speaks of it. */
  carry(mask: BoxedMask): Promise<CarriedMask> {
    return carry(mask, this.worker);
  }
}

export class MaskWorker {
  private readonly line = new Line<import("./protocol").MaskRequest, MaskAnswer>(
    new Worker(new URL("./mask.worker.ts", import.meta.url), { type: "module" }),
  );

  async encode(mask: BoxedMask, frame: Frame): Promise<EncodedMask> {
    return encodedIn(await this.line.ask({ kind: "encode", mask: await this.line.carry(mask), frame }));
  }

  async encodeLogits(logits: Float32Array, frame: Frame, model: ModelShape): Promise<EncodedMask> {
    return encodedIn(await this.line.ask({ kind: "encode-logits", logits, frame, model }));
  }

  async decode(rles: Rle[]): Promise<Runs[]> {
    const found = await this.line.ask({ kind: "decode", rles });
    if (found.kind === "decoded") return found.runs;
    throw unexpected(found);
  }

  async unpack(rle: Rle): Promise<BoxedMask> {
    return unpackedIn(await this.line.ask({ kind: "unpack", rle }));
  }

  /** The mask without specks, or null when it has none. */
  async clean(mask: BoxedMask): Promise<BoxedMask | null> {
    const found = await this.line.ask({ kind: "clean", mask: await this.line.carry(mask) });
    if (found.kind === "cleaned") return found.mask;
    throw unexpected(found);
  }

  async upscale(logits: Float32Array, frame: Frame, model: ModelShape): Promise<BoxedMask> {
    return unpackedIn(await this.line.ask({ kind: "upscale", logits, frame, model }));
  }
}

function encodedIn(found: MaskAnswer): EncodedMask {
  if (found.kind === "encoded") return found.encoded;
  throw unexpected(found);
}

function unpackedIn(found: MaskAnswer): BoxedMask {
  if (found.kind === "unpacked") return found.mask;
  throw unexpected(found);
}

function unexpected(found: MaskAnswer): Error {
  return new Error(found.kind === "failed" ? found.message : "unexpected answer");
}

export function shapeOf(model: Model): ModelShape {
  return {
    inputSize: model.input_size,
    embeddingSide: model.embedding_shape[1],
    threshold: model.mask_threshold,
  };
}

export type Ask = Omit<DecodeRequest, "kind" | "id" | "previous"> & {
  imageId: Id;
  /** Logits (n, n) of the mask to refine, or the mask itself when it has none. */
  previous: { logits: Float32Array } | { mask: BoxedMask } | null;
};

/**
 * Decodes prompts for one model: in the page when WebAssembly works, else on the server.
 * `where` says which of the two it is; `loading` settles once that is known.
 */
export class PromptDecoder {
  where: "loading" | "page" | "server" = "loading";
  /** Why the page could not do it itself. */
  reason = "";
  readonly loading: Promise<void>;
  private readonly line: Line<import("./protocol").DecoderRequest, DecoderAnswer>;
  private readonly shape: ModelShape;

  constructor(
    readonly model: Model,
    private readonly masks: MaskWorker,
  ) {
    this.shape = shapeOf(model);
    this.line = new Line(new Worker(new URL("./decoder.worker.ts", import.meta.url), { type: "module" }));
    this.loading = this.load();
  }

  private async load(): Promise<void> {
    try {
      if (new URLSearchParams(location.search).get("decoder") === "server") throw new Error("asked for by the address");
      const found = await this.line.ask({ kind: "load", decoderUrl: this.model.decoder_url, model: this.shape });
      if (found.kind === "failed") throw new Error(found.message);
      this.where = "page";
    } catch (error) {
      this.reason = error instanceof Error ? error.message : String(error);
      this.where = "server";
    }
  }

  /** Ends the worker with its memory; nothing may be asked any more. */
  close(): void {
    this.line.close();
  }

  /** Bring an embedding into the worker ahead of its use. Errors are told when the image opens. */
  prefetch(embeddingUrl: string): Promise<unknown> {
    return this.where === "server" ? Promise.resolve() : this.line.ask({ kind: "prefetch", embeddingUrl });
  }

  /** The answer, or null when a newer prompt overtook this one. Raises ApiError. */
  async decode(ask: Ask): Promise<Decoded | null> {
    await this.loading;
    if (this.where === "server") return ask.hover ? null : this.decodeOnServer(ask);
    const { imageId: _, previous, ...request } = ask;
    const sent = previous && "mask" in previous ? { mask: await this.line.carry(previous.mask) } : previous;
    const found = await this.line.ask({ kind: "decode", ...request, previous: sent });
    if (found.kind === "decoded") return found.decoded;
    if (found.kind === "failed") {
      if (found.status > 0) throw new ApiError(found.status, "embedding", found.message);
      // The session itself broke (memory, an operator it lacks): the server decodes from here on.
      this.reason = found.message;
      this.where = "server";
      return ask.hover ? null : this.decodeOnServer(ask);
    }
    return null;
  }

  private async decodeOnServer(ask: Ask): Promise<Decoded> {
    const started = performance.now();
    const previous = ask.previous && "logits" in ask.previous ? ask.previous.logits : null;
    const found = await api.decode(ask.imageId, {
      points: ask.prompt.points,
      box: ask.prompt.box,
      model: this.model.id,
      mask_input: previous && bytesToBase64(new Uint8Array(floatsToHalves(previous).buffer)),
    });
    const logits = halvesToFloats(base64ToBytes(found.low_res_logits).buffer);
    const chosen = bestIndex(found.predicted_iou, ask.prompt, previous !== null);
    const mask = await this.mask(logits, chosen, ask.frame);
    return { logits, scores: found.predicted_iou, chosen, mask, decodeMs: performance.now() - started };
  }

  /** Another entry of an answer as a mask in the frame. */
  mask(logits: Float32Array, index: number, frame: Frame): Promise<BoxedMask> {
    return this.masks.upscale(this.entry(logits, index), frame, this.shape);
  }

  /** A copy of logits (n, n) number `index`. */
  entry(logits: Float32Array, index: number): Float32Array {
    const n = 4 * this.shape.embeddingSide;
    return logits.slice(index * n * n, (index + 1) * n * n);
  }
}

export function isEmptyPrompt(prompt: Prompt): boolean {
  return prompt.points.length === 0 && prompt.box === null;
}
