/**
 * Masks as a picture of the stage's size, sampled a few milliseconds a frame.
 *
 * Where sampling takes longer than a frame may (a huge screen, code that isn't compiled yet) the picture before goes
 * along with panning and zooming until the new one is whole.
 */
import type { Size, View } from "./view";

/** Draws the columns from `first` to `end` (exclusive) of the stage as `view` shows them. */
export type Sampler = (view: View, out: Uint32Array, first: number, end: number) => void;

const FRAME_MS = 10;
/** Columns of the stage between two looks at the clock. */
const COLUMNS = 16;

interface Columns {
  first: number;
  end: number;
}

export class Sheet {
  private readonly pixels: ImageData;
  private readonly canvas: OffscreenCanvas;
  private stale: Columns | null;
  /** The view that the canvas shows. */
  private shown: View | null = null;
  private sampling: (Columns & { view: View }) | null = null;

  constructor(readonly size: Size) {
    this.pixels = new ImageData(size.width, size.height);
    this.canvas = new OffscreenCanvas(size.width, size.height);
    this.stale = { first: 0, end: size.width };
  }

  /** These columns are to be sampled again; all of them by default. */
  invalidate(first = 0, end = this.size.width): void {
    this.stale = { first: Math.min(first, this.stale?.first ?? first), end: Math.max(end, this.stale?.end ?? end) };
  }

  /** Go on with the picture; returns whether it is up to date. What is being sampled is finished first. */
  advance(view: View, sample: Sampler): boolean {
    const limit = performance.now() + FRAME_MS;
    const words = new Uint32Array(this.pixels.data.buffer);
    const work = this.sampling ?? this.begin(view);
    if (!work) return true;
    this.sampling = work;
    while (work.first < work.end) {
      const end = Math.min(work.end, work.first + COLUMNS);
      sample(work.view, words, work.first, end);
      work.first = end;
      if (end < work.end && performance.now() > limit) return false;
    }
    this.canvas.getContext("2d")!.putImageData(this.pixels, 0, 0);
    this.shown = work.view;
    this.sampling = null;
    return this.stale === null && view === work.view;
  }

  private begin(view: View): (Columns & { view: View }) | null {
    if (view !== this.shown) this.invalidate();
    if (!this.stale) return null;
    const { width } = this.size;
    const work = { view, first: Math.max(0, this.stale.first), end: Math.min(width, this.stale.end) };
    this.stale = null;
    return work;
  }

  /** Over what the context holds, moved and enlarged from the view that was sampled to `view`. */
  draw(context: CanvasRenderingContext2D, view: View): void {
    if (!this.shown) return;
    const grown = view.scale / this.shown.scale;
    context.save();
    context.translate(view.x - this.shown.x * grown, view.y - this.shown.y * grown);
    context.scale(grown, grown);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.canvas, 0, 0);
    context.restore();
  }
}
