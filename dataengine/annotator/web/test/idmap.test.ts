import { describe, expect, it } from "vitest";
import { rgba, sampleIds, sampleMask } from "../src/canvas/sampling";
import { IdMap, type Layer, layersAt } from "../src/masks/idmap";
import { runsArea, runsBox, runsOf } from "../src/masks/rle";

const FRAME = { width: 40, height: 30 };

function square(slot: number, x: number, y: number, side: number): Layer {
  const mask = { x, y, w: side, h: side, data: new Uint8Array(side * side).fill(1) };
  const runs = runsOf(mask, FRAME);
  return { slot, runs, box: runsBox(runs, FRAME.height), area: runsArea(runs) };
}

describe("ID buffer", () => {
  const large = square(1, 2, 2, 20);
  const small = square(2, 5, 5, 4);
  const other = square(3, 18, 10, 8);

  it("puts the small mask on top and finds all masks under a point", () => {
    const map = new IdMap(FRAME);
    map.repaint({ x0: 0, y0: 0, x1: 40, y1: 30 }, [small, large, other]);
    expect(map.at(6.5, 6.5)).toBe(2);
    expect(map.at(3, 3)).toBe(1);
    expect(map.at(20, 12)).toBe(3);
    expect(map.at(39, 29)).toBe(0);
    expect(map.at(-1, 4)).toBe(0);
    expect(layersAt([small, large, other], FRAME, 6, 6).map((one) => one.slot)).toEqual([2, 1]);
  });

  it("brings back what a removed mask covered, and touches nothing else", () => {
    const map = new IdMap(FRAME);
    map.repaint({ x0: 0, y0: 0, x1: 40, y1: 30 }, [small, large, other]);
    map.repaint(small.box, [large, other]);
    const expected = new Uint16Array(40 * 30);
    for (const { slot, runs } of [large, other]) {
      for (let i = 0; i < runs.length; i += 2) expected.fill(slot, runs[i], runs[i + 1]);
    }
    expect(map.ids).toEqual(expected);
  });
});

describe("masks on the screen", () => {
  const clear = 0;
  const fill = Uint32Array.of(clear, rgba(1, 0, 0, 255));
  const edge = Uint32Array.of(clear, rgba(2, 0, 0, 255));

  it("shows the pixel under each screen pixel, with a line where masks begin and end", () => {
    const map = new IdMap(FRAME);
    map.repaint({ x0: 0, y0: 0, x1: 40, y1: 30 }, [square(1, 4, 4, 4)]);
    const stage = { width: 60, height: 60 };
    const out = new Uint32Array(3600);
    const source = { ids: map.ids, frame: FRAME, fill, edge };
    const view = { scale: 3, x: -6, y: -3 };
    sampleIds(source, view, stage, out);
    const at = (x: number, y: number) => out[y * 60 + x] & 0xff;
    expect(at(12, 15)).toBe(1);
    expect(at(6, 15)).toBe(2);
    expect(at(5, 15)).toBe(0);
    expect(at(18, 15)).toBe(2);
    expect(at(19, 15)).toBe(0);
    const inParts = new Uint32Array(3600).fill(7);
    for (let first = 0; first < 60; first += 7) sampleIds(source, view, stage, inParts, first, Math.min(60, first + 7));
    expect(inParts).toEqual(out);
  });

  it("draws a boxed mask the same way, whole or part by part", () => {
    const mask = { x: 4, y: 4, w: 4, h: 4, data: new Uint8Array(16).fill(1) };
    const view = { scale: 3, x: -6, y: -3 };
    const stage = { width: 30, height: 30 };
    const colours = { fill: fill[1], edge: edge[1] };
    const out = new Uint32Array(900).fill(9);
    sampleMask(mask, view, stage, out, colours);
    const at = (x: number, y: number) => out[y * 30 + x] & 0xff;
    expect(at(12, 15)).toBe(1);
    expect(at(6, 15)).toBe(2);
    expect(at(5, 15)).toBe(0);
    expect(at(29, 29)).toBe(0);
    const inParts = new Uint32Array(900).fill(7);
    for (let first = 0; first < 30; first += 7) {
      sampleMask(mask, view, stage, inParts, colours, first, Math.min(30, first + 7));
    }
    expect(inParts).toEqual(out);
  });
});
