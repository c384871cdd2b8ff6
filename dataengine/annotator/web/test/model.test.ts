import { describe, expect, it } from "vitest";
import { ActiveClock, IDLE_CAP_MS } from "../src/annotate/clock";
import { maskToLogits, promptTensors, resizedSize, upscale } from "../src/decoder/geometry";
import { base64ToBytes, bytesToBase64, floatsToHalves, halvesToFloats } from "../src/decoder/half";
import { bestIndex } from "../src/decoder/protocol";
import { area } from "../src/masks/boxed";

const FRAME = { width: 600, height: 400 };
const MODEL = { inputSize: 512, embeddingSide: 32, threshold: 0 };

describe("prompts", () => {
  it("go into the model's frame, with a padding point when there is no box", () => {
    expect(resizedSize(FRAME, 512)).toEqual({ width: 512, height: 341 });
    const { coords, labels } = promptTensors({ points: [[300, 200, 1]], box: null }, FRAME, 512);
    expect([...labels]).toEqual([1, -1]);
    expect(coords[0]).toBeCloseTo(256);
    expect(coords[1]).toBeCloseTo((200 * 341) / 400);
    const boxed = promptTensors({ points: [[300, 200, 0]], box: [0, 0, 600, 400] }, FRAME, 512);
    expect([...boxed.labels]).toEqual([0, 2, 3]);
    expect([...boxed.coords.slice(2)]).toEqual([0, 0, 512, 341]);
  });

  it("choose the best of three for a lone click, the single mask otherwise", () => {
    const lone = { points: [[1, 1, 1]] as [number, number, 1][], box: null };
    expect(bestIndex([0.99, 0.2, 0.8, 0.3], lone, false)).toBe(2);
    expect(bestIndex([0.99, 0.2, 0.8, 0.3], lone, true)).toBe(0);
    expect(bestIndex([0.1, 0.2, 0.8, 0.3], { ...lone, box: [0, 0, 2, 2] }, false)).toBe(0);
  });
});

describe("low-resolution logits", () => {
  it("with nothing in them are an empty mask", () => {
    expect(area(upscale(new Float32Array(128 * 128).fill(-1), FRAME, MODEL))).toBe(0);
  });

  it("come back from a mask that had none", () => {
    const data = new Uint8Array(200 * 100).fill(1);
    const mask = { x: 120, y: 80, w: 200, h: 100, data };
    const again = upscale(maskToLogits(mask, FRAME, MODEL), FRAME, MODEL);
    expect(Math.abs(again.x - 120)).toBeLessThan(3);
    expect(Math.abs(again.w - 200)).toBeLessThan(5);
    expect(Math.abs(area(again) / area(mask) - 1)).toBeLessThan(0.03);
  });
});

describe("half precision", () => {
  it("survives both ways, with rounding", () => {
    const values = Float32Array.of(0, 1, -2.5, 0.1, 65504, 1e-7, -1e-5, 1e6, 2.0009);
    const back = halvesToFloats(floatsToHalves(values).buffer as ArrayBuffer);
    expect(back[7]).toBe(Number.POSITIVE_INFINITY);
    for (const [i, value] of values.entries()) {
      if (i !== 7) expect(Math.abs(back[i] - value)).toBeLessThanOrEqual(Math.abs(value) / 2048 + 2 ** -25);
    }
    const bytes = Uint8Array.of(0, 255, 7, 128);
    expect(base64ToBytes(bytesToBase64(bytes))).toEqual(bytes);
  });
});

describe("active time", () => {
  it("counts pauses only up to the cap, and nothing while away", () => {
    let now = 0;
    const clock = new ActiveClock(() => now);
    clock.touch();
    now = 4_000;
    expect(clock.elapsed).toBe(4_000);
    clock.touch();
    now = 100_000;
    clock.touch();
    expect(clock.elapsed).toBe(4_000 + IDLE_CAP_MS);
    clock.leave();
    now = 200_000;
    expect(clock.elapsed).toBe(4_000 + IDLE_CAP_MS);
    expect(clock.restart()).toBe(4_000 + IDLE_CAP_MS);
    expect(clock.elapsed).toBe(0);
  });
});
