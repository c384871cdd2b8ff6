import { describe, expect, it } from "vitest";
import { area, type BoxedMask, emptyMask } from "../src/masks/boxed";
import { applyFlips, paintSegment, Stroke } from "../src/masks/brush";
import { History } from "../src/masks/history";
import { noise } from "./noise";

const FRAME = { width: 80, height: 60 };

function pixel(mask: BoxedMask, x: number, y: number): number {
  const inside = x >= mask.x && y >= mask.y && x < mask.x + mask.w && y < mask.y + mask.h;
  return inside ? mask.data[(x - mask.x) * mask.h + (y - mask.y)] : 0;
}

function everyPixel(flips: Uint32Array): number[] {
  const found: number[] = [];
  for (let i = 0; i < flips.length; i += 2) for (let at = flips[i]; at < flips[i + 1]; at++) found.push(at);
  return found;
}

function distance(px: number, py: number, x0: number, y0: number, x1: number, y1: number): number {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2;
  const t = length === 0 ? 0 : Math.max(0, Math.min(1, ((px - x0) * (x1 - x0) + (py - y0) * (y1 - y0)) / length));
  return Math.hypot(px - x0 - t * (x1 - x0), py - y0 - t * (y1 - y0));
}

describe("brush", () => {
  it.each([
    [20, 20, 20, 20, 5.5],
    [10.2, 12.7, 60.4, 41.3, 7],
    [60, 10, 60, 50, 3.2],
    [5, 30, 75, 30, 0.9],
    [-4, -4, 12, 9, 6],
    [70, 55, 90, 80, 8],
  ])("sets the pixels whose centre is within the radius: %f,%f to %f,%f r %f", (x0, y0, x1, y1, radius) => {
    const mask = emptyMask();
    paintSegment(mask, FRAME, { x0, y0, x1, y1 }, radius, 1);
    for (let x = 0; x < FRAME.width; x++) {
      for (let y = 0; y < FRAME.height; y++) {
        const away = distance(x + 0.5, y + 0.5, x0, y0, x1, y1) - radius;
        if (Math.abs(away) > 1e-6) expect(pixel(mask, x, y), `${x},${y}`).toBe(away < 0 ? 1 : 0);
      }
    }
  });

  it("undoes a stroke to the pixel, also after the mask's box has grown", () => {
    const mask: BoxedMask = { x: 10, y: 8, w: 20, h: 16, data: noise(320, 3) };
    const pixels = () => Array.from({ length: 80 * 60 }, (_, i) => pixel(mask, Math.floor(i / 60), i % 60));
    const before = pixels();
    const stroke = new Stroke(mask, FRAME, 4, 1);
    for (const [x, y] of [
      [15, 15],
      [40, 30],
      [70, 20],
      [15, 15],
    ]) {
      stroke.to(x, y);
    }
    const flips = stroke.flips()!;
    const after = pixels();
    expect(after[40 * 60 + 30]).toBe(1);
    applyFlips(mask, FRAME, flips, 0);
    expect(pixels()).toEqual(before);
    applyFlips(mask, FRAME, flips, 1);
    expect(pixels()).toEqual(after);
    expect(new Set(everyPixel(flips)).size).toBe(everyPixel(flips).length);
  });

  it("erases only what is there and says when nothing changed", () => {
    const mask: BoxedMask = { x: 10, y: 10, w: 4, h: 4, data: new Uint8Array(16).fill(1) };
    const beside = new Stroke(mask, FRAME, 2, 0);
    beside.to(40, 40);
    expect(beside.flips()).toBeNull();
    const across = new Stroke(mask, FRAME, 30, 0);
    across.to(12, 12);
    expect(area(mask)).toBe(0);
    expect(everyPixel(across.flips()!)).toHaveLength(16);
  });
});

describe("history", () => {
  const step = (label: string, bytes: number, log: string[]) => ({
    label,
    bytes,
    undo: () => void log.push(`-${label}`),
    redo: () => void log.push(`+${label}`),
  });

  it("goes back and forth, and a new step forgets the undone ones", async () => {
    const log: string[] = [];
    const history = new History();
    history.push(step("a", 1, log));
    history.push(step("b", 1, log));
    await history.undo();
    await history.undo();
    expect(await history.undo()).toBe(false);
    await history.redo();
    history.push(step("c", 1, log));
    expect(await history.redo()).toBe(false);
    expect(log).toEqual(["-b", "-a", "+a"]);
    expect(history.next).toEqual({ undo: "c", redo: null });
  });

  it("forgets the oldest steps beyond its bytes, never the newest", async () => {
    const log: string[] = [];
    const history = new History(100);
    for (const label of ["a", "b", "c"]) history.push(step(label, 60, log));
    expect(history.bytes).toBe(60);
    history.push(step("huge", 1000, log));
    expect(history.next.undo).toBe("huge");
  });
});
