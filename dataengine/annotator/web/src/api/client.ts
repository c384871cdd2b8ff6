/** Every call of the HTTP API in one place. */
import type { Empty, EngineState, Id, Role, Task, Totals, User } from "./types";

export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 when no answer came at all. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }

  /** Worth trying again by itself: no network, a server that is restarting, too many requests. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

const TIMEOUT_MS = 20_000;

export async function request<T>(method: string, url: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      credentials: "same-origin",
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new ApiError(0, "no_connection", "the server can't be reached");
  }
  const text = await response.text();
  const parsed = parse(text);
  if (response.ok) return parsed as T;
  const error = (parsed as { error?: Record<string, unknown> } | null)?.error ?? {};
  const code = typeof error.code === "string" ? error.code : `http_${response.status}`;
  const message = typeof error.message === "string" ? error.message : text.slice(0, 200) || response.statusText;
  throw new ApiError(response.status, code, message, error);
}

function parse(text: string): unknown {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

interface Decoding {
  predicted_iou: number[];
  low_res_logits: string;
}

const at = (id: Id) => encodeURIComponent(String(id));

export const api = {
  session: () => request<{ user: User }>("GET", "/api/session"),
  login: (name: string, password: string) => request<{ user: User }>("POST", "/api/session", { name, password }),
  loginByLink: (token: string) => request<{ user: User }>("POST", "/api/session/link", { token }),
  logout: () => request<unknown>("DELETE", "/api/session"),
  setMe: (name: string, password: string) => request<{ user?: User }>("PUT", "/api/users/me", { name, password }),

  state: () => request<EngineState>("GET", "/api/state"),
  claim: (kind: Task["kind"], mutation: string) =>
    request<{ task: Task | null; empty?: Empty }>("POST", "/api/tasks/claim", { kind, mutation }),
  mine: () => request<{ tasks: Task[] }>("GET", "/api/tasks/mine"),
  heartbeat: (task: Task) =>
    request<{ expires_at: string }>("POST", `/api/tasks/${at(task.id)}/heartbeat`, {
      lease: task.lease,
      fence: task.fence,
    }),
  decode: (image: Id, body: unknown) => request<Decoding>("POST", `/api/images/${at(image)}/decode`, body),

  myStatistics: () => request<{ today: Totals; total: Totals }>("GET", "/api/statistics/me"),
  statistics: () => request<Record<string, unknown>>("GET", "/api/statistics"),
  tasks: (state: string, limit: number) =>
    request<{ tasks: Record<string, unknown>[] }>(
      "GET",
      `/api/tasks?limit=${limit}${state ? `&state=${at(state)}` : ""}`,
    ),
  steal: (task: Id) => request<unknown>("POST", `/api/tasks/${at(task)}/steal`, {}),
  users: () => request<{ users: User[] }>("GET", "/api/users"),
  reopen: (task: Id) => request<unknown>("POST", `/api/tasks/${at(task)}/reopen`),
  addUser: (user: { name: string; password?: string; role: Role }) =>
    request<{ user: User; link: string | null }>("POST", "/api/users", user),
  changeUser: (id: Id, change: Partial<{ role: Role; active: boolean; password: string }>) =>
    request<unknown>("PATCH", `/api/users/${at(id)}`, change),
};
