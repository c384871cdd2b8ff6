import { useState } from "preact/hooks";
import { api } from "../api/client";
import { type AppSession, sentence } from "../shell/session";
import { QueueBar } from "./dashboard";
import { useFetched } from "./fetched";

const STATES = ["", "pending", "ready", "leased", "submitted", "in_review", "accepted", "rejected", "skipped"];

/** Every task with its holder; an admin can take one back. */
export function QueuePage({ session }: { session: AppSession }) {
  const [state, setState] = useState("");
  const { value, error, again } = useFetched(() => api.tasks(state, 200), 15_000, state);
  const admin = session.user?.role === "admin";
  const steal = async (task: Row) => {
    if (
      !confirm(`Take ${nameOf(task)} back from ${task.holder ?? "its holder"}? What was not sent yet becomes a draft.`)
    ) {
      return;
    }
    try {
      await api.steal(task.id);
      session.say("The image is back in the queue.");
      again();
    } catch (problem) {
      session.say(sentence(problem instanceof Error ? problem.message : String(problem)), "warn");
    }
  };
  const reopen = async (task: Row) => {
    try {
      await api.reopen(task.id);
      again();
    } catch (problem) {
      session.say(sentence(problem instanceof Error ? problem.message : String(problem)), "warn");
    }
  };
  const tasks = (value?.tasks ?? []) as unknown as Row[];
  return (
    <main class="page">
      <h1>Queue</h1>
      {session.state && <QueueBar queue={session.state.counts} />}
      <label class="inline">
        State{" "}
        <select value={state} onChange={(event) => setState(event.currentTarget.value)}>
          {STATES.map((one) => (
            <option key={one} value={one}>
              {one === "" ? "all" : one.replace("_", " ")}
            </option>
          ))}
        </select>
      </label>
      {error && <p class="problem">{sentence(error.message)}</p>}
      <div class="table-frame">
        <table>
          <thead>
            <tr>
              <th>Image</th>
              <th>State</th>
              <th>Pass</th>
              <th>Held by</th>
              <th>Until</th>
              <th>Masks</th>
              <th>Note</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {tasks.map((task) => (
              <tr key={task.id}>
                <th scope="row">{nameOf(task)}</th>
                <td>
                  <span class={`badge ${task.state}`}>{task.state.replace("_", " ")}</span>
                </td>
                <td>{task.pass ?? 1}</td>
                <td>{task.holder ?? task.annotator ?? ""}</td>
                <td>{task.expires_at ? new Date(task.expires_at).toLocaleTimeString() : ""}</td>
                <td>{count(task.masks)}</td>
                <td>{task.reason ?? ""}</td>
                <td class="end">
                  {admin && ["leased", "in_review"].includes(task.state) && (
                    <button type="button" class="small" onClick={() => void steal(task)}>
                      Take back
                    </button>
                  )}
                  {task.state === "skipped" && (
                    <button type="button" class="small" onClick={() => void reopen(task)}>
                      Reopen
                    </button>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {value && tasks.length === 0 && <p class="soft nothing">No images in this state.</p>}
      </div>
    </main>
  );
}

interface Row {
  id: number;
  state: string;
  pass?: number;
  holder?: string | number | null;
  annotator?: string | number | null;
  expires_at?: string | number | null;
  reason?: string | null;
  masks?: number | unknown[];
  image_id: number;
  name?: string;
}

function nameOf(task: Row): string {
  return task.name ?? `image ${task.image_id}`;
}

function count(masks: Row["masks"]): string {
  if (masks === undefined) return "";
  return String(Array.isArray(masks) ? masks.length : masks);
}
