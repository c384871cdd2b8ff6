/** Boxes over faces and plates, which a person corrects: what they hide is blurred wherever pixels leave. */
import type { Redaction, RedactionKind } from "../api/types";
import { newId } from "../outbox/outbox";
import type { Workspace } from "./workspace";

type BoxTuple = [number, number, number, number];

export class Redacting {
  selected: string | null = null;
  kind: RedactionKind = "face";
  private boxes: Redaction[];

  constructor(
    private readonly workspace: Workspace,
    boxes: readonly Redaction[],
  ) {
    this.boxes = [...boxes];
  }

  get live(): Redaction[] {
    return this.boxes.filter((one) => one.state === "live");
  }

  /** Put the boxes on the screen while the tool is in use, or always when there are some to look at. */
  show(): void {
    const { workspace } = this;
    workspace.scene.marks.redactions =
      workspace.tool === "redact"
        ? this.live.map(({ id, kind, box }) => ({ kind, box, selected: id === this.selected }))
        : [];
    workspace.stage.invalidate("active");
  }

  add(box: BoxTuple): void {
    const made: Redaction = { id: newId(), kind: this.kind, box: ordered(box), state: "live" };
    this.change([...this.boxes, made], "redaction box");
    this.select(made.id);
  }

  selectAt(x: number, y: number): void {
    const hit = this.live.filter(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    hit.sort((a, b) => size(a.box) - size(b.box));
    this.select(hit[0]?.id ?? null);
  }

  select(id: string | null): void {
    this.selected = id;
    this.show();
    this.workspace.emit();
  }

  step(direction: number): void {
    const { live } = this;
    if (live.length === 0) return;
    const at = live.findIndex((one) => one.id === this.selected);
    this.select(live[at < 0 ? 0 : (at + direction + live.length) % live.length].id);
  }

  setKind(kind: RedactionKind): void {
    this.kind = kind;
    const { selected } = this;
    if (selected) {
      this.change(
        this.boxes.map((one) => (one.id === selected ? { ...one, kind } : one)),
        "kind of a box",
      );
    }
    this.workspace.emit();
  }

  remove(): void {
    const { selected } = this;
    if (!selected) return;
    this.change(
      this.boxes.map((one) => (one.id === selected ? { ...one, state: "deleted" as const } : one)),
      "removal of a box",
    );
    this.select(null);
  }

  private change(boxes: Redaction[], label: string): void {
    const before = this.boxes;
    const put = async (value: Redaction[]) => {
      this.boxes = value;
      this.show();
      await this.workspace.saving.redactions(value);
    };
    this.workspace.clock.touch();
    void put(boxes);
    // A box that was drawn and undone is sent as deleted: the server never forgets a box that it was told of.
    const undone = [
      ...before,
      ...boxes
        .filter((one) => !before.some((old) => old.id === one.id))
        .map((one) => ({ ...one, state: "deleted" as const })),
    ];
    this.workspace.history.push({ label, bytes: 128, undo: () => put(undone), redo: () => put(boxes) });
    this.workspace.emit();
  }
}

function ordered([x0, y0, x1, y1]: BoxTuple): BoxTuple {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

function size(box: BoxTuple): number {
  return (box[2] - box[0]) * (box[3] - box[1]);
}
