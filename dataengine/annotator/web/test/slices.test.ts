/** What is done in slices ends as if it had been done at once. */
import { describe, expect, it } from "vitest";
import { CommittedMasks } from "../src/annotate/committed";
import type { Mask } from "../src/api/types";
import { Arrivals, carry, type Strip } from "../src/decoder/carrying";
import { type BoxedMask, type Frame, growToCover } from "../src/masks/boxed";
import { type Runs, runsOf, runsToRle } from "../src/masks/rle";
import { noise } from "./noise";

const FRAME: Frame = { width: 3000, height: 1500 };

function disc(id: string, x: number, y: number, radius: number, score: number | null = null): [Mask, Runs] {
  const side = 2 * radius + 1;
  const mask = { x, y, w: side, h: side, data: new Uint8Array(side * side) };
  for (let i = 0; i < mask.data.length; i++) {
    const away = Math.hypot(Math.floor(i / side) - radius, (i % side) - radius);
    if (away <= radius) mask.data[i] = 1;
  }
  const runs = runsOf(mask, FRAME);
  const source = score === null ? "assisted" : "prefill";
  return [{ id, rle: runsToRle(runs, FRAME), source, score, prominence: 0, locked: false } as Mask, runs];
}

describe("committed masks", () => {
  const large = disc("large", 100, 100, 600);
  const small = disc("small", 500, 500, 50);
  const doubtful = disc("doubtful", 1500, 300, 500, 0.4);
  const late = disc("late", 1000, 200, 550);

  it("are right in the ID buffer, also where one came while another was being drawn", async () => {
    const masks = new CommittedMasks(FRAME);
    await masks.load([large[0], small[0], doubtful[0]], [large[1], small[1], doubtful[1]]);
    expect(masks.map.at(550, 550)).toBe(2);
    const working = [masks.setThreshold(0.5), masks.put(...late), masks.remove("small")];
    expect(masks.list.map((one) => one.record.id)).toEqual(["large", "doubtful", "late"]);
    await Promise.all(working);
    const expected = new Uint16Array(FRAME.width * FRAME.height);
    for (const [slot, runs] of [
      [1, large[1]],
      [4, late[1]],
    ] as const) {
      for (let i = 0; i < runs.length; i += 2) expected.fill(slot, runs[i], runs[i + 1]);
    }
    expect(Buffer.compare(new Uint8Array(masks.map.ids.buffer), new Uint8Array(expected.buffer))).toBe(0);
  });
});

describe("a mask on its way to a worker", () => {
  it("arrives to the pixel in several strips, beside another one", async () => {
    const mask: BoxedMask = { x: 3, y: 5, w: 3001, h: 3001, data: noise(3001 * 3001, 7) };
    const other: BoxedMask = { x: 0, y: 0, w: 2, h: 2, data: Uint8Array.of(1, 0, 0, 1) };
    const arrivals = new Arrivals();
    let strips = 0;
    const port = {
      postMessage: (strip: Strip) => {
        strips++;
        arrivals.take(structuredClone(strip));
      },
    } as Pick<Worker, "postMessage">;
    const whole = mask.data.slice();
    const [carried, second] = [carry(mask, port), carry(other, port)];
    // A stroke gives the mask another box meanwhile.
    growToCover(mask, { x0: 0, y0: 0, x1: 4000, y1: 4000 }, { width: 4000, height: 4000 });
    const arrived = arrivals.claim(await carried);
    expect(strips).toBe(4);
    expect([arrived.x, arrived.y, arrived.w, arrived.h]).toEqual([3, 5, 3001, 3001]);
    expect(Buffer.compare(arrived.data, whole)).toBe(0);
    expect(arrivals.claim(await second)).toEqual(other);
  });
});
