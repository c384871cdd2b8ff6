import { useEffect, useState } from "preact/hooks";
import type { Entry } from "../outbox/database";
import type { Outbox } from "../outbox/outbox";
import { Dialog } from "./dialog";
import { useEmitter } from "./emitter";
import { sentence } from "./session";

/** Always visible: whether everything is on the server, and if not, why and how much. */
export function SaveState({ outbox }: { outbox: Outbox }) {
  const { status } = useEmitter(outbox);
  const [open, setOpen] = useState(false);
  const [, tick] = useState(0);
  useEffect(() => {
    if (status.stopped !== "offline") return;
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [status.stopped]);
  const unsettled = status.conflicts.length + status.refused.length;
  let tone = "good";
  let text = "All saved";
  if (unsettled > 0) {
    tone = "bad";
    text = `${unsettled} to decide`;
  } else if (status.stopped === "login") {
    tone = "bad";
    text = `Log in to save ${status.waiting}`;
  } else if (status.stopped === "offline") {
    tone = "wait";
    const seconds = Math.max(0, Math.ceil((status.retryAt - Date.now()) / 1000));
    text = `Offline · ${status.waiting} kept here · again in ${seconds} s`;
  } else if (status.waiting > 0) {
    tone = "wait";
    text = `Saving ${status.waiting}…`;
  }
  return (
    <>
      <button
        type="button"
        class={`savestate ${tone}`}
        data-waiting={status.waiting}
        title={unsettled > 0 ? "See what needs a decision" : "Click to try now"}
        onClick={() => (unsettled > 0 ? setOpen(true) : outbox.wake())}
      >
        <i aria-hidden="true" />
        <span aria-live="polite">{text}</span>
      </button>
      {open && unsettled > 0 && <Unsettled outbox={outbox} close={() => setOpen(false)} />}
    </>
  );
}

function Unsettled({ outbox, close }: { outbox: Outbox; close: () => void }) {
  const { status } = useEmitter(outbox);
  return (
    <Dialog title="These need your decision" close={close} wide>
      {status.conflicts.map((entry) => (
        <Conflict key={entry.seq} outbox={outbox} entry={entry} />
      ))}
      {status.refused.map((entry) => (
        <section class="decision" key={entry.seq}>
          <p>
            <b>{what(entry)}</b> was refused: {sentence(entry.error)}
          </p>
          <div class="row end">
            <button type="button" onClick={() => void outbox.resolve(entry, "theirs")}>
              Throw it away
            </button>
            <button type="button" class="primary" onClick={() => void outbox.resolve(entry, "mine")}>
              Send it again
            </button>
          </div>
        </section>
      ))}
    </Dialog>
  );
}

function Conflict({ outbox, entry }: { outbox: Outbox; entry: Entry }) {
  const theirs = entry.theirs;
  return (
    <section class="decision">
      <p>
        <b>{what(entry)}</b> was changed elsewhere meanwhile (another tab or a reviewer). Both versions are kept until
        you choose.
      </p>
      <div class="versions">
        <div>
          <h3>Yours</h3>
          <p class="soft">{entry.after && entry.kind === "mask" ? `${entry.after.area} pixels` : "deleted"}</p>
          <button type="button" class="primary" onClick={() => void outbox.resolve(entry, "mine")}>
            Keep mine
          </button>
        </div>
        <div>
          <h3>The server's</h3>
          <p class="soft">{theirs ? `${theirs.area} pixels, revision ${theirs.revision}` : "deleted"}</p>
          <button type="button" onClick={() => void outbox.resolve(entry, "theirs").then(() => location.reload())}>
            Keep the server's
          </button>
        </div>
      </div>
    </section>
  );
}

function what(entry: Entry): string {
  if (entry.kind === "mask") return "A mask";
  if (entry.kind === "delete") return "The deletion of a mask";
  if (entry.kind === "redactions") return "The boxes over faces and plates";
  return `“${entry.kind}” of image ${entry.task}`;
}
