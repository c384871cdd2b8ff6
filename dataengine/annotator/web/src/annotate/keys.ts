/** Every key of the annotation page: one table that both the handler and the cheat sheet read. */
import { panBy, zoomAt } from "../canvas/view";
import type { Cross } from "./cross";
import type { Workspace } from "./workspace";

export interface KeyContext {
  workspace: Workspace;
  cross: Cross;
  /** Things that belong to the page around the workspace. */
  page: {
    finish(): void;
    skip(): void;
    help(): void;
    rejectMask(): void;
  };
}

export interface Binding {
  /** `event.key`, with `Ctrl+` (also Command) and `Shift+` before it where they matter. */
  keys: string[];
  /** For the cheat sheet. */
  shown: string[];
  group: string;
  what: string;
  when?: "annotate" | "review";
  run(context: KeyContext): void;
}

const STEP = 12;

function zoom({ workspace }: KeyContext, factor: number): void {
  const { stage, frame, scene } = workspace;
  const { cross } = scene.marks;
  const x = cross ? cross.x * stage.view.scale + stage.view.x : stage.size.width / 2;
  const y = cross ? cross.y * stage.view.scale + stage.view.y : stage.size.height / 2;
  stage.setView(zoomAt(stage.view, frame, stage.size, factor, x, y));
}

function arrow(name: string, dx: number, dy: number): Binding[] {
  const key = `Arrow${name}`;
  return [
    bind("", [key], [], "", ({ cross }) => cross.move(dx * STEP, dy * STEP)),
    bind("", [`Shift+${key}`], [], "", ({ cross }) => cross.move(dx, dy)),
    bind("", [`Ctrl+${key}`], [], "", ({ workspace: { stage, frame } }) =>
      stage.setView(panBy(stage.view, frame, stage.size, -dx * 80, -dy * 80)),
    ),
  ];
}

function bind(
  group: string,
  keys: string[],
  shown: string[],
  what: string,
  run: (context: KeyContext) => void,
  when?: Binding["when"],
): Binding {
  return { keys, shown, group, what, run, ...(when ? { when } : {}) };
}

function letGo({ workspace, cross }: KeyContext): void {
  if (workspace.scene.marks.rubber || workspace.brushing.drawing) cross.hide();
  else workspace.discard();
}

function enter({ workspace }: KeyContext): void {
  if (workspace.active) void workspace.committing.commit();
  else workspace.edit();
}

function remove({ workspace }: KeyContext): void {
  if (workspace.tool === "redact") workspace.redacting.remove();
  else if (!workspace.active) void workspace.committing.remove();
}

function step(direction: number) {
  return ({ workspace }: KeyContext) => {
    if (workspace.tool === "redact") workspace.redacting.step(direction);
    else workspace.step(direction);
  };
}

const choose =
  (index: number) =>
  ({ workspace }: KeyContext) =>
    void workspace.prompting.choose(index);

export const BINDINGS: Binding[] = [
  bind(
    "Point",
    ["a"],
    ["A"],
    "Object click at the cross (or press the pen)",
    ({ cross }) => cross.press(1),
    "annotate",
  ),
  bind("Point", ["s"], ["S"], "Background click at the cross", ({ cross }) => cross.press(0)),
  bind("Point", [], ["←", "↑", "→", "↓"], "Move the cross; Shift: by one screen pixel", () => {}),
  ...arrow("Left", -1, 0),
  ...arrow("Right", 1, 0),
  ...arrow("Up", 0, -1),
  ...arrow("Down", 0, 1),
  bind("Choose", ["1"], ["1", "2", "3"], "One of the model's three masks", choose(1)),
  bind("", ["2"], [], "", choose(2)),
  bind("", ["3"], [], "", choose(3)),
  bind("Choose", ["0"], ["0"], "The single mask", choose(0)),
  bind("Choose", ["Tab"], ["Tab"], "Next mask; Shift+Tab: the one before", ({ workspace }) =>
    workspace.prompting.cycle(1),
  ),
  bind("", ["Shift+Tab"], [], "", ({ workspace }) => workspace.prompting.cycle(-1)),
  bind("Finish", ["Enter"], ["Enter"], "Commit the mask in hand, or change the selected one", enter),
  bind("Finish", ["Escape"], ["Esc"], "Let the mask in hand go, or clear the selection", letGo),
  bind("Finish", ["Ctrl+Enter"], ["Ctrl", "Enter"], "Image done", ({ page }) => page.finish()),
  bind("Finish", ["k"], ["K"], "Skip the image, with a reason", ({ page }) => page.skip(), "annotate"),
  bind("Tools", ["c"], ["C"], "Click: left object, right background, drag a box", ({ workspace }) =>
    workspace.setTool("click"),
  ),
  bind("Tools", ["b"], ["B"], "Box", ({ workspace }) => workspace.setTool("box")),
  bind("Tools", ["d"], ["D"], "Brush (right button erases)", ({ workspace }) => workspace.setTool("brush")),
  bind("Tools", ["e"], ["E"], "Eraser", ({ workspace }) => workspace.setTool("eraser")),
  bind("Tools", ["v"], ["V"], "Select committed masks", ({ workspace }) => workspace.setTool("select")),
  bind("Tools", ["x"], ["X"], "Boxes over faces and plates", ({ workspace }) => workspace.setTool("redact")),
  bind("Tools", ["["], ["[", "]"], "Smaller, larger brush", ({ workspace }) =>
    workspace.setBrushRadius(Math.min(workspace.brushRadius - 1, Math.round(workspace.brushRadius / 1.25))),
  ),
  bind("", ["]"], [], "", ({ workspace }) =>
    workspace.setBrushRadius(Math.max(workspace.brushRadius + 1, Math.round(workspace.brushRadius * 1.25))),
  ),
  bind("Change", ["Ctrl+z"], ["Ctrl", "Z"], "Undo", ({ workspace }) => void workspace.undo()),
  bind("Change", ["Ctrl+Shift+z", "Ctrl+y"], ["Ctrl", "Shift", "Z"], "Redo", ({ workspace }) => void workspace.redo()),
  bind(
    "Change",
    ["w"],
    ["W"],
    "Take out specks: small islands and holes",
    ({ workspace }) => void workspace.brushing.clean(),
  ),
  bind("Change", ["n"], ["N", "P"], "Next, previous committed mask", step(1)),
  bind("", ["p"], [], "", step(-1)),
  bind("Change", ["Delete", "Backspace"], ["Del"], "Delete the selected mask or box", remove),
  bind(
    "Change",
    ["g"],
    ["G"],
    "Selected mask stands for a group",
    ({ workspace }) => void workspace.committing.toggleGroup(),
  ),
  bind("View", ["h"], ["H"], "Hide or show masks", ({ workspace }) =>
    workspace.setHidden(!workspace.scene.masksHidden),
  ),
  bind("View", ["l"], ["L"], "Preview under the pointer on or off", ({ workspace }) =>
    workspace.setHoverOn(!workspace.hoverOn),
  ),
  bind("View", ["+", "=", "Shift++"], ["+", "−"], "Zoom in, out (also the wheel)", (context) => zoom(context, 1.3)),
  bind("", ["-"], [], "", (context) => zoom(context, 1 / 1.3)),
  bind("View", ["f"], ["F"], "Fit the image", ({ workspace }) => workspace.stage.fit()),
  bind("View", [], ["Space"], "Hold and drag to pan; Ctrl+arrows", () => {}),
  bind("View", ["?", "Shift+?"], ["?"], "This sheet", ({ page }) => page.help()),
  bind(
    "Review",
    ["a"],
    ["A"],
    "Accept the selected mask, go on",
    ({ workspace }) => workspace.verdicts.judge("accept", null),
    "review",
  ),
  bind("Review", ["r"], ["R"], "Reject it with a reason", ({ page }) => page.rejectMask(), "review"),
  bind(
    "Review",
    ["m"],
    ["M"],
    "Accept all that have no verdict",
    ({ workspace }) => workspace.verdicts.acceptRest(),
    "review",
  ),
];

export function keyName(event: KeyboardEvent): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return `${control}${event.shiftKey ? "Shift+" : ""}${key}`;
}

/** Returns whether the key meant something here. */
export function handleKey(event: KeyboardEvent, context: KeyContext): boolean {
  const name = keyName(event);
  const mode = context.workspace.reviewing ? "review" : "annotate";
  // While a reviewer fixes a mask, keys mean what they mean to an annotator.
  const fixing = mode === "review" && context.workspace.active !== null;
  const found = BINDINGS.find(
    (one) => one.keys.includes(name) && (one.when === undefined || one.when === (fixing ? "annotate" : mode)),
  );
  if (!found) return false;
  found.run(context);
  return true;
}
