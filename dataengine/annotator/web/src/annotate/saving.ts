/** Writes of a task as outbox entries. */
import type { Mask, MaskBody, MaskVerdict, Redaction, Task } from "../api/types";
import { newId, type Outbox } from "../outbox/outbox";

export class Saving {
  private readonly base: string;

  constructor(
    private readonly task: Task,
    private readonly outbox: Outbox,
  ) {
    this.base = `/api/tasks/${encodeURIComponent(String(task.id))}`;
  }

  mask(record: Mask): Promise<void> {
    const { rle, source, prompts, suggestion, predicted_iou, model, active_ms, prominence, group } = record;
    const mask: MaskBody = {
      rle,
      source,
      prompts,
      suggestion,
      predicted_iou,
      model,
      active_ms: Math.round(active_ms),
      prominence,
      group,
    };
    return this.add("mask", "PUT", `/masks/${record.id}`, { mask }, record.id, record);
  }

  remove(record: Mask, reason: string): Promise<void> {
    return this.add("delete", "DELETE", `/masks/${record.id}`, { reason }, record.id, { ...record, state: "deleted" });
  }

  redactions(boxes: Redaction[]): Promise<void> {
    return this.add("redactions", "PUT", "/redactions", { boxes });
  }

  finish(exhaustive: boolean): Promise<void> {
    return this.add("finish", "POST", "/finish", { exhaustive });
  }

  skip(reason: string, note: string): Promise<void> {
    return this.add("skip", "POST", "/skip", { reason, note });
  }

  release(): Promise<void> {
    return this.add("release", "POST", "/release", {});
  }

  review(verdict: "accept" | "reject", reason: string | null, masks: MaskVerdict[]): Promise<void> {
    return this.add("review", "POST", "/review", { verdict, reason, masks });
  }

  private add(
    kind: "mask" | "delete" | "redactions" | "finish" | "skip" | "release" | "review",
    method: "PUT" | "POST" | "DELETE",
    path: string,
    body: object,
    mask: string | null = null,
    after: Mask | null = null,
  ): Promise<void> {
    const { lease, fence } = this.task;
    return this.outbox.add({
      task: String(this.task.id),
      kind,
      mask,
      method,
      url: this.base + path,
      body: { lease, fence, mutation: newId(), ...body },
      after,
    });
  }
}
