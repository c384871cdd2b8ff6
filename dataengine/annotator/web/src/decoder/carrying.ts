/**
 * Masks on their way to a worker: strip by strip, for a message copies what it holds in one go, and a mask that
 * fills a huge image is as large as the image has pixels. What is drawn meanwhile may or may not be in the copy.
 */
import type { BoxedMask } from "../masks/boxed";
import { Slices } from "../shell/slices";

/** A mask whose pixels went ahead in strips. */
export type CarriedMask = Omit<BoxedMask, "data"> & { carried: number };

/** Pixels `at` of the mask's data, which has `length` in all. Has no answer. */
export interface Strip {
  kind: "strip";
  carried: number;
  at: number;
  length: number;
  pixels: Uint8Array<ArrayBuffer>;
}

const STRIP = 1 << 22;
let last = 0;

/** The page's side: sends the pixels to `port`, a worker. */
export async function carry(mask: BoxedMask, port: Pick<Worker, "postMessage">): Promise<CarriedMask> {
  // A stroke may give the mask other data at any time: these belong together.
  const { x, y, w, h, data } = mask;
  const carried = ++last;
  const slices = new Slices();
  for (let at = 0; at < data.length; at += STRIP) {
    const pixels = data.slice(at, at + STRIP) as Uint8Array<ArrayBuffer>;
    port.postMessage({ kind: "strip", carried, at, length: data.length, pixels } satisfies Strip, [pixels.buffer]);
    await slices.pause();
  }
  return { carried, x, y, w, h };
}

/** The worker's side: the strips that have come. */
export class Arrivals {
  private readonly masks = new Map<number, Uint8Array>();

  take({ carried, at, length, pixels }: Strip): void {
    if (pixels.length === length) this.masks.set(carried, pixels);
    else {
      if (at === 0) this.masks.set(carried, new Uint8Array(length));
      this.masks.get(carried)?.set(pixels, at);
    }
  }

  /** The whole mask, which is then forgotten here. */
  claim({ carried, x, y, w, h }: CarriedMask): BoxedMask {
    const data = this.masks.get(carried) ?? new Uint8Array(w * h);
    this.masks.delete(carried);
    return { x, y, w, h, data };
  }
}
