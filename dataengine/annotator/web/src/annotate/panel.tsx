import type { AppSession } from "../shell/session";
import { Choices } from "./choices";
import { MaskList } from "./masklist";
import type { OpenDialog } from "./screen";
import type { Workspace } from "./workspace";

export function SidePanel(props: {
  session: AppSession;
  workspace: Workspace | null;
  open: (dialog: OpenDialog) => void;
}) {
  const { session, workspace, open } = props;
  if (!workspace) return <aside class="side" aria-label="Masks" />;
  const { task } = workspace;
  return (
    <aside class="side" aria-label="Masks">
      <header class="image-name">
        <b title={task.image.name}>{task.image.name}</b>
        <small>
          {task.image.width}×{task.image.height}
          {task.pass > 1 ? ` · pass ${task.pass}` : ""}
          {session.state?.stage === "semi-automatic" ? " · add what is missing" : ""}
        </small>
        {task.review?.verdict === "reject" && <p class="returned">Returned by a reviewer: {task.review.reason}</p>}
      </header>
      <InHand session={session} workspace={workspace} />
      <Judge workspace={workspace} open={open} />
      <ToolOptions workspace={workspace} />
      <ScoreFilter workspace={workspace} />
      <MaskList workspace={workspace} />
      <footer>
        {!workspace.reviewing && (
          <button type="button" class="quiet" onClick={() => open("skip")}>
            Skip <kbd>K</kbd>
          </button>
        )}
        <button type="button" class="primary" onClick={() => open("finish")}>
          {workspace.reviewing ? "Review done" : "Image done"} <kbd>Ctrl ⏎</kbd>
        </button>
      </footer>
    </aside>
  );
}

function Judge({ workspace, open }: { workspace: Workspace; open: (dialog: OpenDialog) => void }) {
  if (!workspace.reviewing || workspace.active || !workspace.committed.selected) return null;
  return (
    <section class="options">
      <div class="row">
        <button type="button" class="primary grow" onClick={() => workspace.verdicts.judge("accept", null)}>
          Accept <kbd>A</kbd>
        </button>
        <button type="button" class="grow" onClick={() => open("reject-mask")}>
          Reject <kbd>R</kbd>
        </button>
      </div>
    </section>
  );
}

function InHand({ session, workspace }: { session: AppSession; workspace: Workspace }) {
  const { active } = workspace;
  if (!active) {
    const selected = workspace.committed.get(workspace.committed.selected);
    if (selected && workspace.tool === "select") return <Selected workspace={workspace} />;
    return (
      <section class="hand empty">
        <p>{hint(workspace)}</p>
      </section>
    );
  }
  const decoder = session.decoderFor(workspace.task);
  return (
    <section class="hand" data-kept={workspace.kept}>
      <h2>{active.editing ? "Changing a mask" : "New mask"}</h2>
      <Choices workspace={workspace} />
      <p class="facts">
        {active.clicks} {active.clicks === 1 ? "click" : "clicks"}
        {active.brushed ? " · brushed" : ""}
        {decoder.where === "server" ? " · decoded on the server" : ""}
      </p>
      <div class="row">
        <button type="button" class="quiet" title="Let the mask go (Esc)" onClick={() => workspace.discard()}>
          Let go
        </button>
        <button type="button" class="quiet" title="Take out specks (W)" onClick={() => void workspace.brushing.clean()}>
          Clean
        </button>
        <button type="button" class="primary" onClick={() => void workspace.committing.commit()}>
          Commit <kbd>⏎</kbd>
        </button>
      </div>
    </section>
  );
}

function Selected({ workspace }: { workspace: Workspace }) {
  const one = workspace.committed.get(workspace.committed.selected)!;
  const { record } = one;
  return (
    <section class="hand">
      <h2>Selected mask</h2>
      <p class="facts">
        {one.area.toLocaleString()} px · {record.source}
        {record.predicted_iou !== null ? ` · IoU ${record.predicted_iou.toFixed(2)}` : ""}
        {record.group ? " · group" : ""}
        {record.locked ? " · locked" : ""}
      </p>
      <div class="row">
        <button type="button" class="quiet" title="Del" onClick={() => void workspace.committing.remove()}>
          Delete
        </button>
        <button
          type="button"
          class="quiet"
          title="G"
          disabled={record.locked}
          onClick={() => void workspace.committing.toggleGroup()}
        >
          Group
        </button>
        <button type="button" class="grow" disabled={record.locked} onClick={() => workspace.edit()}>
          Change <kbd>⏎</kbd>
        </button>
      </div>
    </section>
  );
}

function hint(workspace: Workspace): string {
  if (workspace.reviewing && workspace.tool === "select")
    return "Go through the masks: A accepts, R rejects, Enter opens one to fix it.";
  switch (workspace.tool) {
    case "click":
      return "Click an object, or drag a box around it. The most prominent first.";
    case "box":
      return "Drag a box around an object.";
    case "brush":
      return "Draw a mask by hand.";
    case "eraser":
      return "Select a mask and press Enter to take it in hand, then erase.";
    case "select":
      return "Click a mask to select it. Click again for the one below.";
    case "redact":
      return "Drag boxes over faces and plates that were missed; select wrong ones and delete them.";
  }
}

function ToolOptions({ workspace }: { workspace: Workspace }) {
  const { tool } = workspace;
  if (tool === "brush" || tool === "eraser") {
    const most = Math.max(40, Math.round(Math.min(workspace.frame.width, workspace.frame.height) / 3));
    return (
      <section class="options">
        <label class="slider">
          <span>
            Size <kbd>[</kbd> <kbd>]</kbd>
          </span>
          <input
            type="range"
            min="1"
            max={most}
            value={workspace.brushRadius}
            aria-label="Brush radius in pixels"
            onInput={(event) => workspace.setBrushRadius(Number(event.currentTarget.value))}
          />
          <output>{workspace.brushRadius}</output>
        </label>
      </section>
    );
  }
  if (tool === "redact") {
    const { redacting } = workspace;
    return (
      <section class="options">
        <fieldset class="segments">
          <legend>Kind of box</legend>
          {(["face", "plate", "other"] as const).map((kind) => (
            <label key={kind}>
              <input
                type="radio"
                name="kind"
                checked={redacting.kind === kind}
                onChange={() => redacting.setKind(kind)}
              />
              <span>{kind}</span>
            </label>
          ))}
        </fieldset>
        <p class="facts">
          {redacting.live.length} {redacting.live.length === 1 ? "box" : "boxes"}
        </p>
      </section>
    );
  }
  if (tool === "click") {
    return (
      <section class="options">
        <label class="check">
          <input
            type="checkbox"
            checked={workspace.hoverOn}
            onChange={(event) => workspace.setHoverOn(event.currentTarget.checked)}
          />
          Preview under the pointer <kbd>L</kbd>
        </label>
      </section>
    );
  }
  return null;
}

/** Prefilled masks below a score are hidden; nothing is deleted by it. */
function ScoreFilter({ workspace }: { workspace: Workspace }) {
  const { committed } = workspace;
  const scored = committed.list.filter((one) => one.record.source === "prefill" && one.record.score !== null);
  if (scored.length === 0) return null;
  const shown = scored.filter((one) => committed.isShown(one)).length;
  return (
    <section class="options">
      <label class="slider">
        <span>Score ≥</span>
        <input
          type="range"
          min="0"
          max="1"
          step="0.01"
          value={committed.threshold}
          aria-label="Least score of prefilled masks to show"
          onInput={(event) => void workspace.setThreshold(Number(event.currentTarget.value))}
        />
        <output>{committed.threshold.toFixed(2)}</output>
      </label>
      <p class="facts">
        {shown} of {scored.length} prefilled masks shown
      </p>
    </section>
  );
}
