/** Which committed mask lies on top at every pixel: one ID buffer for all of them, hit-tested by reading it. */
import { type Box, clipBox, type Frame, isEmptyBox, sharedBox } from "./boxed";
import { eachPiece, type Runs, runsContain } from "./rle";

/** A mask as the ID buffer knows it. `slot` is its number in the buffer, 1..65535; small masks lie on top. */
export interface Layer {
  slot: number;
  runs: Runs;
  box: Box;
  area: number;
}

/** `ids` is column-major like the masks: position = column * height + row; 0 is nothing. */
export class IdMap {
  readonly ids: Uint16Array;

  constructor(readonly frame: Frame) {
    this.ids = new Uint16Array(frame.width * frame.height);
  }

  /** Make the pixels inside `box` right again after one of the `layers` there came, changed or went. */
  repaint(box: Box, layers: readonly Layer[]): void {
    const at = clipBox(box, this.frame);
    if (isEmptyBox(at)) return;
    const { height } = this.frame;
    for (let column = at.x0; column < at.x1; column++) {
      this.ids.fill(0, column * height + at.y0, column * height + at.y1);
    }
    for (const layer of inOrder(layers.filter((one) => !isEmptyBox(sharedBox(at, one.box))))) {
      const shared = sharedBox(at, layer.box);
      eachPiece(layer.runs, height, shared, (column, from, to) => {
        this.ids.fill(layer.slot, column * height + from, column * height + to);
      });
    }
  }

  /** The slot on top at (x, y), 0 for none or outside. */
  at(x: number, y: number): number {
    const column = Math.floor(x);
    const row = Math.floor(y);
    if (column < 0 || row < 0 || column >= this.frame.width || row >= this.frame.height) return 0;
    return this.ids[column * this.frame.height + row];
  }
}

/** The largest first, so that a part drawn later stays visible on its whole; ties by slot. */
export function inOrder(layers: readonly Layer[]): Layer[] {
  return [...layers].sort((a, b) => b.area - a.area || a.slot - b.slot);
}

/** Every layer under (x, y), the smallest first: what repeated clicks go through. */
export function layersAt(layers: readonly Layer[], frame: Frame, x: number, y: number): Layer[] {
  const column = Math.floor(x);
  const row = Math.floor(y);
  if (column < 0 || row < 0 || column >= frame.width || row >= frame.height) return [];
  const position = column * frame.height + row;
  return inOrder(layers.filter((layer) => runsContain(layer.runs, position))).reverse();
}
