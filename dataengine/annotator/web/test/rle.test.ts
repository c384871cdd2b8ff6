import { describe, expect, it } from "vitest";
import type { BoxedMask } from "../src/masks/boxed";
import {
  boxedFromRuns,
  compressCounts,
  decompressCounts,
  rleToRuns,
  runsArea,
  runsBox,
  runsContain,
  runsOf,
  runsToRle,
} from "../src/masks/rle";
import { noise } from "./noise";

const FRAME = { width: 13, height: 9 };

function boxed(x: number, y: number, w: number, h: number, seed = 1): BoxedMask {
  return { x, y, w, h, data: noise(w * h, seed) };
}

describe("run lengths", () => {
  it("writes what pycocotools writes", () => {
    // pycocotools.mask.encode of a 4 x 3 mask with the pixels (row 1, column 0) and (row 2, column 0)
    expect(runsToRle(Uint32Array.of(1, 3), { width: 3, height: 4 })).toEqual({ size: [4, 3], counts: "129" });
    expect(runsToRle(new Uint32Array(0), { width: 3, height: 4 }).counts).toBe("<");
    expect(runsToRle(Uint32Array.of(0, 12), { width: 3, height: 4 }).counts).toBe("0<");
  });

  it("reads back any numbers", () => {
    const counts = [0, 5, 40, 3_000_000, 1, 1, 48_000_000, 2, 2];
    expect(decompressCounts(compressCounts(counts))).toEqual(counts);
  });

  it("refuses strings that no encoder writes", () => {
    expect(() => decompressCounts("P")).toThrow(RangeError);
    expect(() => decompressCounts("\u00ff")).toThrow(RangeError);
    expect(() => rleToRuns({ size: [4, 3], counts: "12" })).toThrow(RangeError);
  });

  it.each([
    [0, 0, 13, 9],
    [3, 0, 4, 9],
    [2, 3, 5, 4],
    [12, 8, 1, 1],
  ])("keeps the pixels of a box at %i,%i of %i x %i", (x, y, w, h) => {
    const mask = boxed(x, y, w, h);
    const runs = runsOf(mask, FRAME);
    expect(rleToRuns(runsToRle(runs, FRAME))).toEqual(runs);
    expect(runsArea(runs)).toBe(mask.data.reduce((sum, one) => sum + one, 0));
    const back = boxedFromRuns(runs, FRAME.height);
    for (let px = 0; px < FRAME.width; px++) {
      for (let py = 0; py < FRAME.height; py++) {
        const inside = px >= x && px < x + w && py >= y && py < y + h;
        const one = inside ? mask.data[(px - x) * h + (py - y)] : 0;
        expect(runsContain(runs, px * FRAME.height + py)).toBe(one === 1);
        const ix = px - back.x;
        const iy = py - back.y;
        const there = ix >= 0 && iy >= 0 && ix < back.w && iy < back.h ? back.data[ix * back.h + iy] : 0;
        expect(there).toBe(one);
      }
    }
  });

  it("knows the box of runs that wrap around columns", () => {
    expect(runsBox(Uint32Array.of(7, 11), 9)).toEqual({ x0: 0, y0: 0, x1: 2, y1: 9 });
    expect(runsBox(Uint32Array.of(2, 4, 12, 13), 9)).toEqual({ x0: 0, y0: 2, x1: 2, y1: 4 });
  });
});
