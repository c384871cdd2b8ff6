/** IndexedDB: writes that the server has not acknowledged yet, and the mask in hand of every open task. */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Mask } from "../api/types";

export type EntryKind = "mask" | "delete" | "redactions" | "finish" | "skip" | "release" | "review";

/** `waiting` goes out by itself; the others wait for a person. */
export type EntryState = "waiting" | "conflict" | "refused";

/** One write. It is stored before it is sent and leaves only when the server has said that it holds it. */
export interface Entry {
  /** Order of sending; given by the database. */
  seq?: number;
  user: string;
  task: string;
  kind: EntryKind;
  mask: string | null;
  method: "PUT" | "POST" | "DELETE";
  url: string;
  /** The body, with the mutation id; `base_revision` is filled in when a mask's turn comes. */
  body: Record<string, unknown> & { mutation: string };
  /** What the mask looks like with this write applied, to show it after a reload. */
  after: Mask | null;
  state: EntryState;
  error: string;
  /** The server's version of a mask in conflict. */
  theirs: Mask | null;
  created: number;
}

/** The mask in hand, kept over a reload, a crash or a new login. */
export interface Draft {
  /** `${user}/${task}` */
  key: string;
  saved: number;
  value: unknown;
}

interface Schema extends DBSchema {
  outbox: { key: number; value: Entry; indexes: { user: string } };
  drafts: { key: string; value: Draft };
  revisions: { key: string; value: { mask: string; revision: number } };
}

let opening: Promise<IDBPDatabase<Schema>> | null = null;

export function database(): Promise<IDBPDatabase<Schema>> {
  opening ??= openDB<Schema>("dataengine-annotator", 1, {
    upgrade(db) {
      const outbox = db.createObjectStore("outbox", { keyPath: "seq", autoIncrement: true });
      outbox.createIndex("user", "user");
      db.createObjectStore("drafts", { keyPath: "key" });
      db.createObjectStore("revisions", { keyPath: "mask" });
    },
  });
  return opening;
}
