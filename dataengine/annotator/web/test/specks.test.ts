import { describe, expect, it } from "vitest";
import { area, type BoxedMask } from "../src/masks/boxed";
import { withoutSpecks } from "../src/masks/specks";

function drawn(...rows: string[]): BoxedMask {
  const [w, h] = [rows[0].length, rows.length];
  const data = new Uint8Array(w * h);
  rows.forEach((row, y) => {
    for (let x = 0; x < w; x++) data[x * h + y] = row[x] === "#" ? 1 : 0;
  });
  return { x: 5, y: 7, w, h, data };
}

describe("specks", () => {
  it("go: small islands and holes, not the bay at the border", () => {
    const mask = drawn("######..#", "#.####...", "######...", "####....#", "###....##");
    const cleaned = withoutSpecks(mask, 4)!;
    expect(cleaned).toEqual(drawn("######...", "######...", "######...", "####.....", "###......"));
    expect(mask.data[0 * 5 + 1 + 5]).toBe(0);
  });

  it("leave the largest island when all are small, and say when there are none", () => {
    expect(area(withoutSpecks(drawn("#..##", "....#"), 10)!)).toBe(3);
    expect(withoutSpecks(drawn("####", "####"), 4)).toBeNull();
    expect(withoutSpecks(drawn("....", "...."), 4)).toBeNull();
  });
});
