/** The mask in hand, kept in IndexedDB: one a task and person. */
import { database } from "./database";

export async function saveDraft(user: string, task: string, value: unknown): Promise<void> {
  await (await database()).put("drafts", { key: `${user}/${task}`, saved: Date.now(), value });
}

export async function loadDraft<T>(user: string, task: string): Promise<T | null> {
  return ((await (await database()).get("drafts", `${user}/${task}`))?.value as T) ?? null;
}

export async function dropDraft(user: string, task: string): Promise<void> {
  await (await database()).delete("drafts", `${user}/${task}`);
}
