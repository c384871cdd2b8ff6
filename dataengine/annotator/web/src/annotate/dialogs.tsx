import { useLayoutEffect, useState } from "preact/hooks";
import { Dialog } from "../shell/dialog";
import { BINDINGS } from "./keys";
import type { Workspace } from "./workspace";

/** Call `pick` with 0, 1, 2... when a digit key is pressed. */
function useDigits(count: number, pick: (index: number) => void): void {
  useLayoutEffect(() => {
    const down = (event: KeyboardEvent) => {
      const index = Number(event.key) - 1;
      if (event.target instanceof HTMLTextAreaElement || !(index >= 0 && index < count)) return;
      event.preventDefault();
      event.stopPropagation(); // The page behind must not take it too when the dialog has gone.
      pick(index);
    };
    addEventListener("keydown", down, true);
    return () => removeEventListener("keydown", down, true);
  }, [count, pick]);
}

/** "Image done": is every object masked? Both answers are good; the answer is kept with the image. */
export function FinishDialog(props: {
  workspace: Workspace;
  close: () => void;
  done: (exhaustive: boolean) => void;
  accept: () => void;
  reject: () => void;
}) {
  const { workspace, close } = props;
  const count = workspace.committed.size;
  const review = workspace.reviewing;
  useDigits(2, (index) => {
    if (workspace.active) return;
    if (review) (index === 0 ? props.accept : props.reject)();
    else props.done(index === 0);
  });
  if (workspace.active) {
    return (
      <Dialog title="There is a mask in hand" close={close}>
        <p>Commit it (Enter) or let it go (Esc) before you finish the image.</p>
        <div class="row end">
          <button type="button" onClick={close}>
            Back
          </button>
          <button
            type="button"
            class="primary"
            autofocus
            onClick={() => void workspace.committing.commit().then(close)}
          >
            Commit it
          </button>
        </div>
      </Dialog>
    );
  }
  if (review) {
    const { open, rejected } = workspace.verdicts;
    return (
      <Dialog title="Review done" close={close}>
        <p>
          {count} {count === 1 ? "mask" : "masks"}: {rejected} rejected, {open} without a verdict.
        </p>
        <div class="choices">
          <button type="button" class="primary" autofocus onClick={props.accept}>
            <kbd>1</kbd> Accept the image
          </button>
          <button type="button" onClick={props.reject}>
            <kbd>2</kbd> Reject it, with a reason
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Image done" close={close}>
      <p>
        {count} {count === 1 ? "mask" : "masks"}. Does every object that you can tell apart have one?
      </p>
      <div class="choices">
        <button type="button" class="primary" autofocus onClick={() => props.done(true)}>
          <kbd>1</kbd> Yes, all of them
        </button>
        <button type="button" onClick={() => props.done(false)}>
          <kbd>2</kbd> No, some are left
        </button>
      </div>
    </Dialog>
  );
}

export function ReasonDialog(props: {
  title: string;
  action: string;
  reasons: string[];
  note?: boolean;
  close: () => void;
  chosen: (reason: string, note: string) => void;
}) {
  const [note, setNote] = useState("");
  useDigits(props.reasons.length, (index) => props.chosen(props.reasons[index], note));
  return (
    <Dialog title={props.title} close={props.close}>
      {props.note && (
        <label>
          Note (optional)
          <textarea rows={2} maxLength={200} value={note} onInput={(event) => setNote(event.currentTarget.value)} />
        </label>
      )}
      <div class="choices">
        {props.reasons.map((reason, index) => (
          <button type="button" key={reason} autofocus={index === 0} onClick={() => props.chosen(reason, note)}>
            <kbd>{index + 1}</kbd> {reason.charAt(0).toUpperCase() + reason.slice(1).replaceAll("_", " ")}
          </button>
        ))}
      </div>
    </Dialog>
  );
}

export function CheatSheet({ review, close }: { review: boolean; close: () => void }) {
  const mode = review ? "review" : "annotate";
  const shown = BINDINGS.filter((one) => one.shown.length > 0 && (one.when === undefined || one.when === mode));
  const groups = [...new Set(shown.map((one) => one.group))];
  return (
    <Dialog title="Keys" close={close} wide>
      <div class="sheet">
        {groups.map((group) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>
              {shown
                .filter((one) => one.group === group)
                .map((one) => (
                  <div key={one.what}>
                    <dt>
                      {one.shown.map((key) => (
                        <kbd key={key}>{key}</kbd>
                      ))}
                    </dt>
                    <dd>{one.what}</dd>
                  </div>
                ))}
            </dl>
          </section>
        ))}
      </div>
      <p class="soft">
        Mouse: left click object, right click (or Alt) background, drag a box, Shift+click selects, wheel zooms, middle
        button or Space+drag pans. Objects in order of prominence: what strikes the eye first comes first.
      </p>
    </Dialog>
  );
}
