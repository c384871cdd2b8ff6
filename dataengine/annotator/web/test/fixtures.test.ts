/** Against pycocotools and the engine itself: `tests/annotator/test_codec.py` writes the cases and runs this. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { upscale } from "../src/decoder/geometry";
import { boxedFromRuns, rleToRuns, runsArea, runsOf, runsToRle } from "../src/masks/rle";

interface Cases {
  rle: { width: number; height: number; pixels: string; counts: string; area: number }[];
  upscale: { width: number; height: number; input_size: number; side: number; logits: number[]; counts: string }[];
}

const file = process.env.CODEC_CASES;
const cases: Cases = file ? JSON.parse(readFileSync(file, "utf8")) : { rle: [], upscale: [] };

describe.skipIf(!file)("cases written by the engine", () => {
  it("encodes every mask as pycocotools does, and decodes it again", () => {
    expect(cases.rle.length).toBeGreaterThan(0);
    for (const { width, height, pixels, counts, area } of cases.rle) {
      const data = Uint8Array.from(pixels, (one) => (one === "1" ? 1 : 0));
      const runs = runsOf({ x: 0, y: 0, w: width, h: height, data }, { width, height });
      expect(runsToRle(runs, { width, height })).toEqual({ size: [height, width], counts });
      const read = rleToRuns({ size: [height, width], counts });
      expect(read).toEqual(runs);
      expect(runsArea(read)).toBe(area);
      // The same pixels as a tight crop.
      expect(runsOf(boxedFromRuns(read, height), { width, height })).toEqual(runs);
    }
  });

  it("enlarges logits to the mask that Sam.upsample gives", () => {
    expect(cases.upscale.length).toBeGreaterThan(0);
    for (const one of cases.upscale) {
      const frame = { width: one.width, height: one.height };
      const model = { inputSize: one.input_size, embeddingSide: one.side, threshold: 0 };
      const mine = runsOf(upscale(Float32Array.from(one.logits), frame, model), frame);
      const theirs = rleToRuns({ size: [one.height, one.width], counts: one.counts });
      expect(differing(mine, theirs)).toBeLessThanOrEqual(2);
    }
  });
});

/** Pixels that are in one set of runs only: float32 sums may fall on either side of the threshold. */
function differing(a: Uint32Array, b: Uint32Array): number {
  const ends = [...a, ...b].sort((x, y) => x - y);
  let sum = 0;
  for (let i = 0; i + 1 < ends.length; i += 2) sum += ends[i + 1] - ends[i];
  return sum;
}
