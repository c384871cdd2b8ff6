/** Repeatable 0/1 noise in runs of a few pixels. */
export function noise(length: number, seed: number): Uint8Array {
  const data = new Uint8Array(length);
  let state = seed * 2654435761;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[i] = (state >>> 16) % 3 === 0 ? 1 : i > 0 ? data[i - 1] : 0;
    if ((state >>> 20) % 4 === 0) data[i] = 0;
  }
  return data;
}
