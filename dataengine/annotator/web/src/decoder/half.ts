/** IEEE half precision, as embeddings and low-resolution logits travel. */

const TABLE = makeTable();

/** All 65536 halves as floats: 256 KiB, and an embedding of a million values becomes a million look-ups. */
function makeTable(): Float32Array {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    let value: number;
    if (exponent === 0) value = fraction * 2 ** -24;
    else if (exponent === 31) value = fraction ? Number.NaN : Number.POSITIVE_INFINITY;
    else value = (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 0x8000 ? -value : value;
  }
  return table;
}

/** Little-endian float16 bytes -> float32. */
export function halvesToFloats(buffer: ArrayBuffer): Float32Array {
  const halves = new Uint16Array(buffer);
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) floats[i] = TABLE[halves[i]];
  return floats;
}

const asFloat = new Float32Array(1);
const asBits = new Uint32Array(asFloat.buffer);

/** float32 -> float16, rounded to nearest; too large becomes infinity, too small zero or a subnormal. */
export function floatsToHalves(floats: Float32Array): Uint16Array {
  const halves = new Uint16Array(floats.length);
  for (let i = 0; i < floats.length; i++) {
    asFloat[0] = floats[i];
    const bits = asBits[0];
    const sign = (bits >>> 16) & 0x8000;
    const exponent = ((bits >>> 23) & 0xff) - 127 + 15;
    if (exponent >= 31) halves[i] = sign | 0x7c00;
    else if (exponent <= 0) halves[i] = sign | Math.round(Math.abs(floats[i]) * 2 ** 24);
    // Adding half of the last place carries over into the exponent where it must.
    else halves[i] = sign | ((((exponent << 23) | (bits & 0x7fffff)) + 0x1000) >>> 13);
  }
  return halves;
}

export function bytesToBase64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

export function base64ToBytes(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
