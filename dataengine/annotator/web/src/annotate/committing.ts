/** The way of a mask out of the hand into the outbox, and what can be done with it from then on. */
import type { Mask } from "../api/types";
import type { EncodedMask } from "../decoder/protocol";
import type { Step } from "../masks/history";
import { runsBox } from "../masks/rle";
import { newId } from "../outbox/outbox";
import { type Active, bodyPrompts, sourceOf } from "./active";
import type { Workspace } from "./workspace";

export class Committing {
  /** The mask in hand is on its way out: nobody may draw on it. */
  leaving = false;

  constructor(private readonly workspace: Workspace) {}

  commit(): Promise<void> {
    const { workspace } = this;
    return workspace.serial(async () => {
      // Enter may come before the model's answer: it means the mask that is on its way.
      await workspace.prompting.pending;
      const { active } = workspace;
      if (!active || workspace.prompting.waiting) return;
      this.leaving = true;
      try {
        await this.take(active);
      } finally {
        this.leaving = false;
      }
    });
  }

  private async take(active: Active): Promise<void> {
    const { workspace } = this;
    const encoded = await workspace.around.masks.encode(active.mask, workspace.frame);
    if (encoded.area === 0) {
      workspace.say("The mask is empty: there is nothing to save.", "warn");
      return;
    }
    const before = active.suggestion && (await workspace.asRle(active.suggestion));
    const record = this.recordOf(active, encoded, before);
    // Out of the hand only when it lies in the outbox.
    await workspace.saving.mask(record);
    await workspace.committed.put(record, encoded.runs);
    workspace.replaceActive(null);
    workspace.committed.select(null);
    workspace.stage.invalidate("masks");
    workspace.history.push(this.commitStep(active, record));
    if (active.editing && workspace.reviewing) workspace.verdicts.set(record.id, "fixed", null);
  }

  private recordOf(active: Active, encoded: EncodedMask, suggestion: Mask["suggestion"]): Mask {
    const { workspace } = this;
    const { rle, area, runs } = encoded;
    const box = runsBox(runs, workspace.frame.height);
    const known = active.editing;
    const list = workspace.committed.list;
    return {
      id: known?.id ?? newId(),
      rle,
      bbox: [box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0],
      area,
      source: sourceOf(active),
      locked: false,
      score: known?.score ?? null,
      predicted_iou: active.predictedIou,
      model: known?.model ?? (active.answer ? workspace.around.decoder.model.id : null),
      prompts: bodyPrompts(active),
      suggestion,
      active_ms: (known?.active_ms ?? 0) + workspace.clock.restart(),
      revision: known?.revision ?? 0,
      state: "live",
      prominence: known?.prominence ?? (list.at(-1)?.record.prominence ?? -1) + 1,
      group: known?.group ?? false,
    };
  }

  private commitStep(active: Active, record: Mask): Step {
    const { workspace } = this;
    const { editing } = active;
    let now = record;
    return {
      label: editing ? "change of a mask" : "commit",
      bytes: record.rle.counts.length + active.mask.data.length,
      undo: async () => {
        if (editing) await this.putBack({ ...editing, revision: now.revision });
        else await this.takeOut(now, "undone");
        workspace.replaceActive(active);
      },
      redo: async () => {
        // A deleted mask stays deleted on the server; doing it again makes a new one.
        now = editing ? now : { ...now, id: newId(), revision: 0 };
        await this.putBack(now);
        workspace.replaceActive(null);
      },
    };
  }

  private async putBack(record: Mask): Promise<void> {
    const { workspace } = this;
    const [runs] = await workspace.around.masks.decode([record.rle]);
    await workspace.committed.put(record, runs);
    workspace.stage.invalidate("masks");
    await workspace.saving.mask(record);
  }

  private async takeOut(record: Mask, reason: string): Promise<void> {
    const { workspace } = this;
    await workspace.committed.remove(record.id);
    workspace.stage.invalidate("masks");
    await workspace.saving.remove(record, reason);
  }

  remove(id: string | null = this.workspace.committed.selected, reason = "deleted by its annotator"): Promise<void> {
    const { workspace } = this;
    return workspace.serial(async () => {
      const one = workspace.committed.get(id);
      if (!one) return;
      let { record } = one;
      await this.takeOut(record, reason);
      workspace.history.push({
        label: "deletion",
        bytes: record.rle.counts.length + one.runs.byteLength,
        undo: async () => {
          record = { ...record, id: newId(), revision: 0, locked: false };
          await this.putBack(record);
        },
        redo: () => this.takeOut(record, reason),
      });
      workspace.emit();
    });
  }

  /** Mark the selected mask as one that stands for several objects. */
  toggleGroup(): Promise<void> {
    const { workspace } = this;
    return workspace.serial(async () => {
      const one = workspace.committed.get(workspace.committed.selected);
      if (!one || one.record.locked) return;
      const record = { ...one.record, group: !one.record.group };
      workspace.committed.update(record);
      workspace.emit();
      await workspace.saving.mask(record);
    });
  }
}
