import { useEffect, useRef } from "preact/hooks";
import type { Active } from "./active";
import type { Workspace } from "./workspace";

const ORDER = [1, 2, 3, 0];
const SIDE = 76;

/** The model's answers as small pictures with their scores. */
export function Choices({ workspace }: { workspace: Workspace }) {
  const { active } = workspace;
  if (!active?.answer) return null;
  const { answer } = active;
  return (
    <div class="choices-row" aria-label="The model's masks" role="group">
      {ORDER.map((index) => (
        <button
          type="button"
          key={index}
          class="choice"
          aria-pressed={index === active.chosen}
          aria-label={`Mask ${index}, score ${answer.scores[index].toFixed(2)}`}
          data-choice={index}
          onClick={(event) => {
            void workspace.prompting.choose(index);
            event.currentTarget.blur();
          }}
        >
          <Thumbnail workspace={workspace} answer={answer} index={index} />
          <span>
            <kbd>{index}</kbd> {Math.max(0, Math.min(1, answer.scores[index])).toFixed(2)}
          </span>
        </button>
      ))}
    </div>
  );
}

/** Logits straight to a small canvas, over the picture; low resolution is enough here. */
function Thumbnail({
  workspace,
  answer,
  index,
}: {
  workspace: Workspace;
  answer: NonNullable<Active["answer"]>;
  index: number;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (context) draw(context, workspace, answer.logits, index);
  }, [workspace, answer, index]);
  return <canvas ref={canvas} width={SIDE} height={SIDE} />;
}

interface Backdrop {
  pixels: ImageData;
  left: number;
  top: number;
}

const backdrops = new WeakMap<Workspace, Backdrop>();

/** The picture at the thumbnails' size, read back once an image; null until there is a picture. */
function backdropOf(workspace: Workspace): Backdrop | null {
  const known = backdrops.get(workspace);
  if (known) return known;
  const { frame, scene } = workspace;
  const bitmap = scene.pyramid.best(SIDE);
  if (!bitmap) return null;
  const scale = SIDE / Math.max(frame.width, frame.height);
  const width = Math.max(1, Math.round(frame.width * scale));
  const height = Math.max(1, Math.round(frame.height * scale));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0, width, height);
  const left = Math.floor((SIDE - width) / 2);
  const top = Math.floor((SIDE - height) / 2);
  const made = { pixels: context.getImageData(0, 0, width, height), left, top };
  backdrops.set(workspace, made);
  return made;
}

function draw(context: CanvasRenderingContext2D, workspace: Workspace, logits: Float32Array, index: number): void {
  context.clearRect(0, 0, SIDE, SIDE);
  const backdrop = backdropOf(workspace);
  if (!backdrop) return;
  const { width, height, data } = backdrop.pixels;
  const n = Math.sqrt(logits.length / 4);
  const offset = index * n * n;
  const shown = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const cell = Math.floor(((y + 0.5) * n) / SIDE) * n + Math.floor(((x + 0.5) * n) / SIDE);
      const at = 4 * (y * width + x);
      const inside = logits[offset + cell] > 0;
      // Outside is dimmed, so that the mask stands out on any picture.
      for (let c = 0; c < 3; c++) shown.data[at + c] = inside ? data[at + c] : data[at + c] * 0.28 + 24;
      shown.data[at + 3] = 255;
    }
  }
  context.putImageData(shown, backdrop.left, backdrop.top);
}
