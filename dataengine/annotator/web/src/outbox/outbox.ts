/**
 * The outbox: every write lies in IndexedDB before it goes to the server, in order, one mask a request.
 *
 * No answer, a server error or "too many" is tried again with growing pauses; 401 waits for a new login;
 * 409 on a lost lease means that the server kept the work as an orphan draft; any other 409 waits for a
 * person, who sees both versions. Nothing leaves the outbox unless the server said that it holds it or a
 * person threw it away.
 */
import { ApiError, api, request } from "../api/client";
import type { Mask } from "../api/types";
import { Emitter } from "../shell/emitter";
import { database, type Entry } from "./database";

export interface OutboxStatus {
  waiting: number;
  conflicts: Entry[];
  refused: Entry[];
  /** Sending right now. */
  sending: boolean;
  /** Why nothing goes out, if so. */
  stopped: "offline" | "login" | null;
  /** When the next try comes, in ms of `Date.now()`. */
  retryAt: number;
}

export interface LostLease {
  task: string;
  /** The server keeps what was sent as an orphan draft. */
  orphan: boolean;
  message: string;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

export class Outbox extends Emitter {
  status: OutboxStatus = { waiting: 0, conflicts: [], refused: [], sending: false, stopped: null, retryAt: 0 };
  onLoginNeeded: () => void = () => {};
  onLostLease: (lost: LostLease) => void = () => {};

  private pause = FIRST_PAUSE_MS;
  private timer = 0;
  private draining = false;
  /** Writes on their way to the disk: shown as waiting from the first moment. */
  private adding = 0;
  private again = false;
  private readonly revisions = new Map<string, number>();
  private idleWaiters: (() => void)[] = [];

  constructor(readonly user: string) {
    super();
    addEventListener("online", this.wake);
  }

  /** Read what an earlier page left, and send it. */
  async open(): Promise<void> {
    const db = await database();
    for (const known of await db.getAll("revisions")) this.revisions.set(known.mask, known.revision);
    await this.refresh();
    this.wake();
  }

  close(): void {
    removeEventListener("online", this.wake);
    clearTimeout(this.timer);
  }

  /** Entries of a task that the server does not hold yet, oldest first. */
  async pending(task: string): Promise<Entry[]> {
    return (await this.all()).filter((entry) => entry.task === task);
  }

  /** What the server last said about masks. Never goes backwards. */
  async knows(masks: readonly { id: string; revision: number }[]): Promise<void> {
    const news = masks.filter((one) => one.revision > (this.revisions.get(one.id) ?? 0));
    if (news.length === 0) return;
    for (const { id, revision } of news) this.revisions.set(id, revision);
    const writing = (await database()).transaction("revisions", "readwrite");
    await Promise.all([...news.map(({ id, revision }) => writing.store.put({ mask: id, revision })), writing.done]);
  }

  /** Store the write; resolves once it lies on disk, and starts sending. */
  async add(entry: Omit<Entry, "seq" | "user" | "state" | "error" | "theirs" | "created">): Promise<void> {
    this.adding++;
    this.status = { ...this.status, waiting: this.status.waiting + 1 };
    this.emit();
    const db = await database();
    const row: Entry = { ...entry, user: this.user, state: "waiting", error: "", theirs: null, created: Date.now() };
    try {
      await db.add("outbox", row);
    } finally {
      this.adding--;
    }
    await this.refresh();
    this.wake();
  }

  /** Try now: a person asked, the network is back, or somebody logged in. */
  readonly wake = (): void => {
    clearTimeout(this.timer);
    void this.drain();
  };

  /** Resolves when nothing waits any more, or rejects never: look at `status` afterwards. */
  async settled(limitMs: number): Promise<void> {
    if (this.status.waiting === 0 && !this.draining) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, limitMs);
      this.idleWaiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** A person's decision about an entry that the server refused or that is in conflict. */
  async resolve(entry: Entry, keep: "mine" | "theirs"): Promise<void> {
    const db = await database();
    if (keep === "theirs") {
      await db.delete("outbox", entry.seq!);
    } else {
      // A new mutation: the old one has its answer already.
      const body = { ...entry.body, mutation: newId(), base_revision: undefined };
      await db.put("outbox", { ...entry, body, state: "waiting", error: "", theirs: null });
    }
    await this.refresh();
    this.wake();
  }

  private async all(): Promise<Entry[]> {
    return (await database()).getAllFromIndex("outbox", "user", this.user);
  }

  private async refresh(change: Partial<OutboxStatus> = {}): Promise<void> {
    const entries = await this.all();
    this.status = {
      ...this.status,
      ...change,
      waiting: entries.filter((entry) => entry.state === "waiting").length + this.adding,
      conflicts: entries.filter((entry) => entry.state === "conflict"),
      refused: entries.filter((entry) => entry.state === "refused"),
    };
    this.emit();
    if (this.status.waiting === 0) for (const done of this.idleWaiters.splice(0)) done();
  }

  private async drain(): Promise<void> {
    if (this.draining) {
      this.again = true;
      return;
    }
    this.draining = true;
    try {
      // Two tabs of one person share the box; one of them sends. (Locks exist on https and localhost only.)
      if (navigator.locks) await navigator.locks.request(`outbox-${this.user}`, () => this.sendAll());
      else await this.sendAll();
    } finally {
      this.draining = false;
      if (this.again) {
        this.again = false;
        this.wake();
      }
    }
  }

  private async sendAll(): Promise<void> {
    for (;;) {
      const entry = (await this.all()).find((one) => one.state === "waiting");
      if (!entry) {
        this.pause = FIRST_PAUSE_MS;
        await this.refresh({ sending: false, stopped: null, retryAt: 0 });
        return;
      }
      await this.refresh({ sending: true });
      try {
        await this.send(entry);
        this.pause = FIRST_PAUSE_MS;
        await this.refresh({ stopped: null, retryAt: 0 });
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (!(await this.failed(entry, error))) return;
      }
    }
  }

  private async send(entry: Entry): Promise<void> {
    const db = await database();
    if (entry.mask !== null && entry.body.base_revision === undefined) {
      // Written down before it is sent: a retry must repeat the same request.
      entry.body.base_revision = this.revisions.get(entry.mask) ?? 0;
      await db.put("outbox", entry);
    }
    const answer = await request<{ revision?: number } | null>(entry.method, entry.url, entry.body);
    const { mask } = entry;
    if (mask !== null && answer?.revision !== undefined) await this.knows([{ id: mask, revision: answer.revision }]);
    await db.delete("outbox", entry.seq!);
  }

  /** Returns whether to go on with the next entry. */
  private async failed(entry: Entry, error: ApiError): Promise<boolean> {
    const db = await database();
    if (error.status === 401) {
      await this.refresh({ sending: false, stopped: "login" });
      this.onLoginNeeded();
      return false;
    }
    if (error.passing) {
      this.timer = window.setTimeout(this.wake, this.pause);
      await this.refresh({ sending: false, stopped: "offline", retryAt: Date.now() + this.pause });
      this.pause = Math.min(LONGEST_PAUSE_MS, this.pause * 2);
      return false;
    }
    const orphan = error.details.orphan === true;
    if (error.code.startsWith("lease")) {
      // The server holds an orphan's pixels; for anything else there is no lease left to write under.
      if (orphan || entry.kind !== "mask") await db.delete("outbox", entry.seq!);
      else await db.put("outbox", { ...entry, state: "refused", error: error.message });
      this.onLostLease({ task: entry.task, orphan, message: error.message });
    } else {
      const conflict = error.code === "revision_conflict" && entry.mask !== null;
      const theirs = conflict ? await serverVersion(entry) : null;
      if (conflict) await this.knows([{ id: entry.mask!, revision: Number(error.details.revision ?? 0) }]);
      const state = conflict ? "conflict" : "refused";
      await db.put("outbox", { ...entry, state, error: error.message, theirs });
    }
    await this.refresh();
    return true;
  }
}

/** The server's mask that an entry is in conflict with; null when it was deleted there or can't be had. */
async function serverVersion(entry: Entry): Promise<Mask | null> {
  try {
    const { tasks } = await api.mine();
    const task = tasks.find((one) => String(one.id) === entry.task);
    return task?.masks.find((one) => one.id === entry.mask) ?? null;
  } catch {
    return null;
  }
}

/** A random UUID; `crypto.randomUUID` is missing on plain http in a local network. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
