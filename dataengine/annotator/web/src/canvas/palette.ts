/** Colours of masks: hues a golden angle apart, so that neighbours in the list differ. */
import { rgba } from "./sampling";

export function hueOf(index: number): number {
  return (index * 137.508 + 25) % 360;
}

export function cssColour(index: number): string {
  return `hsl(${hueOf(index).toFixed(0)} 78% 56%)`;
}

/** HSL (degrees, 0..1, 0..1) -> 0..255 each. */
export function hslToRgb(hue: number, saturation: number, lightness: number): [number, number, number] {
  const chroma = saturation * Math.min(lightness, 1 - lightness);
  const part = (n: number) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (lightness - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

export function maskColour(index: number, alpha: number): number {
  const [red, green, blue] = hslToRgb(hueOf(index), 0.78, 0.56);
  return rgba(red, green, blue, Math.round(alpha * 255));
}
