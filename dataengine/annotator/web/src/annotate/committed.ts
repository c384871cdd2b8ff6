/** The masks of the open image that have been committed: records, pixels, colours, and who lies on top where. */
import type { Mask } from "../api/types";
import { maskColour } from "../canvas/palette";
import { rgba } from "../canvas/sampling";
import { type Box, type Frame, isEmptyBox, unionBox } from "../masks/boxed";
import { IdMap, type Layer, layersAt } from "../masks/idmap";
import { type Runs, runsArea, runsBox } from "../masks/rle";
import { Slices } from "../shell/slices";

export interface Committed extends Layer {
  record: Mask;
}

/** Pixels of the ID buffer that are made right in one go: one or two milliseconds. */
const STRIP = 1 << 20;

export class CommittedMasks {
  readonly map: IdMap;
  /** Colours by slot; slot 0 is nothing. */
  readonly fill = new Uint32Array(65536);
  readonly edge = new Uint32Array(65536);
  /** Prefilled masks below this score are not shown. */
  threshold = 0;
  selected: string | null = null;
  private readonly byId = new Map<string, Committed>();
  private nextSlot = 1;
  private sorted: Committed[] | null = null;
  /** Where the ID buffer is out of date; who works on it works until none is left. */
  private stale: Box[] = [];
  private painting = false;
  private painted: Promise<void> = Promise.resolve();

  constructor(readonly frame: Frame) {
    this.map = new IdMap(frame);
  }

  /** In the order in which they were made. */
  get list(): readonly Committed[] {
    this.sorted ??= [...this.byId.values()].sort(
      (a, b) => a.record.prominence - b.record.prominence || a.slot - b.slot,
    );
    return this.sorted;
  }

  get size(): number {
    return this.byId.size;
  }

  get(id: string | null): Committed | null {
    return (id !== null && this.byId.get(id)) || null;
  }

  /** All visible masks under (x, y), the smallest first. */
  allAt(x: number, y: number): Committed[] {
    return layersAt(this.visible, this.frame, x, y) as Committed[];
  }

  isShown(one: Committed): boolean {
    return one.record.score === null || one.record.source !== "prefill" || one.record.score >= this.threshold;
  }

  private get visible(): Committed[] {
    return [...this.byId.values()].filter((one) => this.isShown(one));
  }

  /** Take in all masks of an image. */
  async load(records: readonly Mask[], runs: readonly Runs[]): Promise<void> {
    const slices = new Slices();
    for (const [index, record] of records.entries()) {
      this.remember(record, runs[index]);
      await slices.pause();
    }
    await this.repaint(this.visible.map((one) => one.box).reduce(unionBox, { x0: 0, y0: 0, x1: 0, y1: 0 }));
  }

  /** Add a mask or change one's pixels: at once in the list, and under the pointer; resolves when also in sight. */
  put(record: Mask, runs: Runs): Promise<void> {
    const before = this.byId.get(record.id);
    const now = this.remember(record, runs);
    return this.repaint(before ? unionBox(before.box, now.box) : now.box);
  }

  /** New facts about a mask whose pixels stay. */
  update(record: Mask): void {
    const known = this.byId.get(record.id);
    if (!known) return;
    known.record = record;
    this.sorted = null;
    this.colour(known);
  }

  remove(id: string): Promise<void> {
    const gone = this.byId.get(id);
    if (!gone) return this.painted;
    this.byId.delete(id);
    this.sorted = null;
    if (this.selected === id) this.selected = null;
    return this.repaint(gone.box);
  }

  select(id: string | null): void {
    const before = this.get(this.selected);
    this.selected = id;
    for (const one of [before, this.get(id)]) if (one) this.colour(one);
  }

  setThreshold(threshold: number): Promise<void> {
    this.threshold = threshold;
    this.stale = [];
    return this.repaint({ x0: 0, y0: 0, x1: this.frame.width, y1: this.frame.height });
  }

  private remember(record: Mask, runs: Runs): Committed {
    const slot = this.byId.get(record.id)?.slot ?? this.nextSlot++;
    const one = { record, runs, slot, box: runsBox(runs, this.frame.height), area: runsArea(runs) };
    this.byId.set(record.id, one);
    this.sorted = null;
    this.colour(one);
    return one;
  }

  private repaint(box: Box): Promise<void> {
    this.stale.push(box);
    if (!this.painting) this.painted = this.paintStale();
    return this.painted;
  }

  /** Strip by strip, each with the masks of that moment: what changes in between makes its own box stale again. */
  private async paintStale(): Promise<void> {
    const slices = new Slices();
    this.painting = true;
    for (let box = this.stale.pop(); box; box = this.stale.pop()) {
      if (isEmptyBox(box)) continue;
      const x1 = Math.min(box.x1, box.x0 + Math.ceil(STRIP / (box.y1 - box.y0)));
      if (x1 < box.x1) this.stale.push({ ...box, x0: x1 });
      this.map.repaint({ ...box, x1 }, this.visible);
      await slices.pause();
    }
    this.painting = false;
  }

  private colour(one: Committed): void {
    const { slot, record } = one;
    if (record.id === this.selected) {
      this.fill[slot] = maskColour(slot, 0.62);
      this.edge[slot] = rgba(255, 255, 255, 255);
    } else if (record.locked || record.source === "prefill") {
      this.fill[slot] = maskColour(slot, 0.22);
      this.edge[slot] = maskColour(slot, 0.75);
    } else {
      this.fill[slot] = maskColour(slot, 0.38);
      this.edge[slot] = maskColour(slot, 0.95);
    }
  }
}
