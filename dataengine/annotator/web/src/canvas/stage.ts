/** Three canvases on top of each other: the picture, the committed masks, the mask in hand with its marks. */
import type { Box, BoxedMask } from "../masks/boxed";
import type { Marks } from "./marks";
import { drawMarks } from "./marks";
import type { Pyramid } from "./pyramid";
import { type MaskSource, rgba, sampleIds, sampleMask } from "./sampling";
import { Sheet } from "./sheet";
import { fitView, type Size, toScreen, type View } from "./view";

/** What the stage shows; whoever owns it changes it and says which canvas is stale. */
export interface Scene extends MaskSource {
  pyramid: Pyramid;
  masksHidden: boolean;
  active: BoxedMask | null;
  /** The preview under the pointer. */
  hover: BoxedMask | null;
  marks: Marks;
}

export type LayerName = "image" | "masks" | "active";

const ACTIVE = { fill: rgba(56, 132, 255, 105), edge: rgba(255, 255, 255, 255) };
const HOVER = { fill: rgba(120, 170, 255, 70), edge: rgba(190, 215, 255, 200) };

export class Stage {
  view: View = { scale: 1, x: 0, y: 0 };
  size: Size = { width: 1, height: 1 };
  onView: () => void = () => {};
  private scene: Scene | null = null;
  private readonly canvases: Record<LayerName, HTMLCanvasElement>;
  private readonly stale = new Set<LayerName>();
  private planned = 0;
  /** Layers whose masks on the screen are older than what is known. */
  private readonly behind = new Set<LayerName>();
  private committed: Sheet | null = null;
  private hand: Sheet | null = null;
  /** What the sheet of the mask in hand shows. */
  private inHand: BoxedMask | null = null;
  private readonly observer: ResizeObserver;
  private afterPaint: (() => void)[] = [];

  constructor(readonly root: HTMLElement) {
    const make = (name: LayerName) => {
      const canvas = document.createElement("canvas");
      canvas.dataset.layer = name;
      root.append(canvas);
      return canvas;
    };
    this.canvases = { image: make("image"), masks: make("masks"), active: make("active") };
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(root);
    this.resize();
  }

  show(scene: Scene | null): void {
    this.scene = scene;
    this.forget();
    if (scene) this.setView(fitView(scene.frame, this.size));
    this.invalidate("image", "masks", "active");
  }

  setView(view: View): void {
    this.view = view;
    this.invalidate("image", "masks", "active");
    this.onView();
  }

  fit(): void {
    if (this.scene) this.setView(fitView(this.scene.frame, this.size));
  }

  invalidate(...layers: LayerName[]): void {
    for (const layer of layers) this.stale.add(layer);
    if (!this.planned) this.planned = requestAnimationFrame(this.paint);
  }

  /** Pixels of the mask in hand changed, inside `box` of the frame if it is given. */
  touched(box?: Box): void {
    const { scale, x } = this.view;
    if (box) this.hand?.invalidate(Math.floor(box.x0 * scale + x) - 1, Math.ceil(box.x1 * scale + x) + 2);
    else this.hand?.invalidate();
    this.invalidate("active");
  }

  /** Call once what is stale now has been drawn. */
  painted(callback: () => void): void {
    this.afterPaint.push(callback);
    this.invalidate();
  }

  close(): void {
    cancelAnimationFrame(this.planned);
    this.observer.disconnect();
    for (const canvas of Object.values(this.canvases)) canvas.remove();
  }

  private forget(): void {
    this.committed = null;
    this.hand = null;
    this.behind.clear();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.root;
    if (width === 0 || height === 0) return;
    const first = this.size.width === 1;
    const centre = { x: (width - this.size.width) / 2, y: (height - this.size.height) / 2 };
    this.size = { width, height };
    const ratio = devicePixelRatio || 1;
    for (const [name, canvas] of Object.entries(this.canvases)) {
      // Masks are sampled at CSS resolution: four times the work on a sharp screen would show little more.
      const sharp = name === "masks" ? 1 : ratio;
      canvas.width = Math.round(width * sharp);
      canvas.height = Math.round(height * sharp);
    }
    this.forget();
    if (first) this.fit();
    else this.setView({ ...this.view, x: this.view.x + centre.x, y: this.view.y + centre.y });
  }

  private readonly paint = (): void => {
    this.planned = 0;
    const { scene } = this;
    const stale = [...this.stale];
    this.stale.clear();
    if (!scene) {
      for (const canvas of Object.values(this.canvases)) {
        canvas.getContext("2d")!.clearRect(0, 0, canvas.width, canvas.height);
      }
    } else {
      if (stale.includes("image")) this.paintImage(scene);
      if (stale.includes("masks")) this.committed?.invalidate();
      if (stale.includes("masks") || this.behind.has("masks")) this.paintMasks(scene);
      if (stale.includes("active") || this.behind.has("active")) this.paintActive(scene);
    }
    if (this.behind.size > 0) {
      this.invalidate();
      return;
    }
    for (const done of this.afterPaint.splice(0)) done();
  };

  private paintImage(scene: Scene): void {
    const canvas = this.canvases.image;
    const context = canvas.getContext("2d")!;
    const ratio = canvas.width / this.size.width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const { view, size } = this;
    const bitmap = scene.pyramid.best(scene.frame.width * view.scale * ratio);
    if (!bitmap) return;
    // Only the visible part, so that a huge picture costs no more than the screen.
    const x0 = Math.max(0, -view.x / view.scale);
    const y0 = Math.max(0, -view.y / view.scale);
    const x1 = Math.min(scene.frame.width, (size.width - view.x) / view.scale);
    const y1 = Math.min(scene.frame.height, (size.height - view.y) / view.scale);
    if (x1 <= x0 || y1 <= y0) return;
    const bx = bitmap.width / scene.frame.width;
    const by = bitmap.height / scene.frame.height;
    const [sx, sy] = toScreen(view, x0, y0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = view.scale * ratio < 3 * bx;
    context.imageSmoothingQuality = "medium";
    context.drawImage(
      bitmap,
      x0 * bx,
      y0 * by,
      (x1 - x0) * bx,
      (y1 - y0) * by,
      sx,
      sy,
      (x1 - x0) * view.scale,
      (y1 - y0) * view.scale,
    );
  }

  private paintMasks(scene: Scene): void {
    const canvas = this.canvases.masks;
    const context = canvas.getContext("2d")!;
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.behind.delete("masks");
    if (scene.masksHidden) return;
    this.committed ??= new Sheet({ width: canvas.width, height: canvas.height });
    const { committed } = this;
    const done = committed.advance(this.view, (view, out, first, end) =>
      sampleIds(scene, view, committed.size, out, first, end),
    );
    if (!done) this.behind.add("masks");
    committed.draw(context, this.view);
  }

  private paintActive(scene: Scene): void {
    const canvas = this.canvases.active;
    const context = canvas.getContext("2d")!;
    const ratio = canvas.width / this.size.width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.behind.delete("active");
    if (scene.active) this.paintInHand(context, scene.active, ACTIVE);
    else if (scene.hover) this.paintInHand(context, scene.hover, HOVER);
    else this.hand = null;
    drawMarks(context, scene.marks, this.view);
  }

  private paintInHand(context: CanvasRenderingContext2D, mask: BoxedMask, colours: typeof ACTIVE): void {
    this.hand ??= new Sheet(this.size);
    const { hand } = this;
    if (mask !== this.inHand) hand.invalidate();
    this.inHand = mask;
    const done = hand.advance(this.view, (view, out, first, end) =>
      sampleMask(mask, view, hand.size, out, colours, first, end),
    );
    if (!done) this.behind.add("active");
    hand.draw(context, this.view);
  }
}
