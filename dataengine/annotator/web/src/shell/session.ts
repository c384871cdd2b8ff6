/** What lives as long as somebody is logged in: who, the engine's state, the outbox, the workers. */
import { ApiError, api } from "../api/client";
import type { EngineState, Id, Model, Task, User } from "../api/types";
import { MaskWorker, PromptDecoder } from "../decoder/workers";
import { Outbox } from "../outbox/outbox";
import { Emitter } from "./emitter";

export interface Toast {
  id: number;
  message: string;
  tone: "plain" | "warn";
}

const POLL_MS = 15_000;
const TOAST_MS = 6_000;
/** Models whose decoders stay loaded: that of the open image, the next one's, and the newest. */
const KEPT_DECODERS = 3;

export class AppSession extends Emitter {
  user: User | null = null;
  state: EngineState | null = null;
  outbox: Outbox | null = null;
  /** The session ended while work was open: log in above it, nothing is thrown away. */
  loginNeeded = false;
  toasts: Toast[] = [];
  /** The first answer has come. */
  known = false;
  unreachable = false;
  private masksWorker: MaskWorker | null = null;
  private readonly decoders = new Map<string, PromptDecoder>();
  private nextToast = 1;
  private poll = 0;

  get masks(): MaskWorker {
    this.masksWorker ??= new MaskWorker();
    return this.masksWorker;
  }

  async start(): Promise<void> {
    try {
      const { user } = await api.session();
      await this.enter(user);
    } catch (error) {
      this.unreachable = error instanceof ApiError && error.passing;
      if (this.unreachable) setTimeout(() => void this.start(), 3_000);
      else this.unreachable = false;
    }
    this.known = true;
    this.emit();
  }

  async login(name: string, password: string): Promise<void> {
    await this.enter((await api.login(name, password)).user);
  }

  async enter(user: User): Promise<void> {
    const other = this.user !== null && this.user.id !== user.id;
    this.user = user;
    this.loginNeeded = false;
    if (other) {
      // Another person: their own outbox and their own leases, from a clean page.
      location.reload();
      return;
    }
    if (!this.outbox) {
      this.outbox = new Outbox(String(user.id));
      this.outbox.onLoginNeeded = () => {
        if (this.loginNeeded) return;
        this.loginNeeded = true;
        this.emit();
      };
      await this.outbox.open();
    } else this.outbox.wake();
    await this.refresh();
    clearInterval(this.poll);
    this.poll = window.setInterval(() => void this.refresh(), POLL_MS);
    this.emit();
  }

  async logout(): Promise<void> {
    await this.outbox?.settled(3_000);
    await api.logout().catch(() => {});
    location.hash = "";
    location.reload();
  }

  async refresh(): Promise<void> {
    if (document.hidden && this.state) return;
    try {
      this.state = await api.state();
      // The decoder loads while the first image is on its way.
      if (this.state.model) this.decoderOf(this.state.model);
      this.emit();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.outbox?.onLoginNeeded();
    }
  }

  /** The decoder of the task's model, which may be older than the current one. Raises ApiError when there is none. */
  decoderFor(task: Task): PromptDecoder {
    const model = task.model ?? this.state?.model;
    if (!model) throw new ApiError(409, "no_model", "the engine has no model yet");
    return this.decoderOf(model);
  }

  private decoderOf(model: Model): PromptDecoder {
    const decoder = this.decoders.get(model.id) ?? new PromptDecoder(model, this.masks);
    // The one used last comes last.
    this.decoders.delete(model.id);
    this.decoders.set(model.id, decoder);
    for (const [id, old] of this.decoders) {
      if (this.decoders.size <= KEPT_DECODERS) break;
      this.decoders.delete(id);
      old.close();
    }
    return decoder;
  }

  readonly say = (message: string, tone: Toast["tone"] = "plain"): void => {
    const toast = { id: this.nextToast++, message, tone };
    this.toasts = [...this.toasts.filter((one) => one.message !== message), toast].slice(-3);
    this.emit();
    setTimeout(() => this.dismiss(toast.id), TOAST_MS);
  };

  readonly failed = (error: ApiError): void => {
    if (error.status === 401) this.outbox?.onLoginNeeded();
    else this.say(sentence(error.message), "warn");
  };

  dismiss(id: number): void {
    this.toasts = this.toasts.filter((one) => one.id !== id);
    this.emit();
  }
}

export function sentence(text: string): string {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}

export function sameId(a: Id, b: Id): boolean {
  return String(a) === String(b);
}
