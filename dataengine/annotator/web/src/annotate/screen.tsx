import { flushSync } from "preact/compat";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import type { Task } from "../api/types";
import { Stage } from "../canvas/stage";
import { useEmitter } from "../shell/emitter";
import { type AppSession, sentence } from "../shell/session";
import { Cross } from "./cross";
import { CheatSheet, FinishDialog, ReasonDialog } from "./dialogs";
import { Gestures } from "./gestures";
import { handleKey } from "./keys";
import { SidePanel } from "./panel";
import { Runner } from "./runner";
import { ToolRail } from "./toolrail";
import { Workspace } from "./workspace";

export type OpenDialog = "finish" | "skip" | "reject-mask" | "reject-image" | "help" | null;

/** The page on which people annotate or review, one image after another. */
export function AnnotateScreen({ session, kind }: { session: AppSession; kind: Task["kind"] }) {
  const root = useRef<HTMLDivElement>(null);
  const [stage, setStage] = useState<Stage | null>(null);
  const runner = useMemo(
    () => new Runner(kind, session.outbox!, session.state!.heartbeat_seconds || 60),
    [kind, session],
  );
  useEmitter(runner);
  const [workspace, setWorkspace] = useState<Workspace | null>(null);
  useEmitter(workspace);
  const [dialog, setDialog] = useDialog();

  useEffect(() => {
    const made = new Stage(root.current!);
    setStage(made);
    runner.onAhead = (task) => prefetch(session, task);
    void runner.start();
    return () => {
      void runner.giveBack();
      runner.close();
      made.close();
    };
  }, [runner, session]);

  useTask(session, runner, stage, setWorkspace);
  useLostLease(session, runner, workspace);
  useInput(root, workspace, session, dialog, setDialog);

  const leave = (write: () => Promise<void>) => async () => {
    setDialog(null);
    await workspace?.settle();
    await write();
    await runner.next();
    void session.refresh();
  };
  return (
    <main class="workbench">
      <ToolRail workspace={workspace} open={setDialog} />
      <div class="stage-frame">
        <div class="stage" ref={root} data-tool={workspace?.tool} data-ready={workspace?.ready ?? false} />
        <StageNotice session={session} runner={runner} workspace={workspace} />
        {workspace && <HandTimer workspace={workspace} />}
      </div>
      <SidePanel session={session} workspace={workspace} open={setDialog} />
      {workspace && dialog && (
        <Dialogs session={session} workspace={workspace} dialog={dialog} setDialog={setDialog} leave={leave} />
      )}
    </main>
  );
}

function prefetch(session: AppSession, task: Task): void {
  try {
    void session.decoderFor(task).prefetch(task.image.embedding_url);
  } catch {
    // Told when the image opens.
  }
}

/** Opens a workspace for the task at hand and closes it with the task. */
function useTask(
  session: AppSession,
  runner: Runner,
  stage: Stage | null,
  setWorkspace: (workspace: Workspace | null) => void,
): void {
  const task = runner.state.name === "working" ? runner.state.task : null;
  useEffect(() => {
    if (!task || !stage) return;
    let made: Workspace | null = null;
    try {
      const decoder = session.decoderFor(task);
      void decoder.prefetch(task.image.embedding_url);
      const { user, state, outbox, masks, say, failed } = session;
      made = new Workspace(task, { user: user!, state: state!, outbox: outbox!, decoder, masks, stage, say, failed });
      setWorkspace(made);
      made.open().catch((error) => failed(error instanceof ApiError ? error : new ApiError(0, "page", String(error))));
    } catch (error) {
      session.failed(error as ApiError);
    }
    return () => {
      made?.close();
      stage.show(null);
      setWorkspace(null);
    };
  }, [task, stage, session]);
}

function useLostLease(session: AppSession, runner: Runner, workspace: Workspace | null): void {
  useEffect(() => {
    const outbox = session.outbox!;
    outbox.onLostLease = (lost) => {
      session.say(
        lost.orphan
          ? "Somebody else has this image now. What you sent was kept as a draft for a reviewer."
          : sentence(lost.message),
        "warn",
      );
      if (workspace && String(workspace.task.id) === lost.task) void runner.start();
    };
  }, [session, runner, workspace]);
}

/** Which dialog is open. It opens and closes at once: the very next key of a fast typist goes where it belongs. */
function useDialog(): [OpenDialog, (dialog: OpenDialog) => void] {
  const [dialog, setDialog] = useState<OpenDialog>(null);
  return [dialog, useCallback((next: OpenDialog) => flushSync(() => setDialog(next)), [])];
}

/** Pointer and keyboard for the workspace while it is open. */
function useInput(
  root: { current: HTMLDivElement | null },
  workspace: Workspace | null,
  session: AppSession,
  dialog: OpenDialog,
  setDialog: (dialog: OpenDialog) => void,
): void {
  // Read by the listeners, which outlive a dialog: a new cross or gesture in the middle of one would forget its start.
  const open = useRef(dialog);
  open.current = dialog;
  useEffect(() => {
    if (!workspace || !root.current) return;
    const gestures = new Gestures(root.current, workspace);
    const cross = new Cross(workspace);
    const page = {
      finish: () => setDialog("finish"),
      skip: () => setDialog("skip"),
      help: () => setDialog("help"),
      rejectMask: () => setDialog("reject-mask"),
    };
    const space = (event: KeyboardEvent, down: boolean) => {
      gestures.panning = down;
      root.current?.classList.toggle("panning", down);
      event.preventDefault();
    };
    const down = (event: KeyboardEvent) => {
      if (open.current || session.loginNeeded || isTyping(event.target) || !workspace.ready) return;
      if (event.key === " " && !isPressable(event.target)) space(event, true);
      else if (!(isPlainEnter(event) && isPressable(event.target)) && handleKey(event, { workspace, cross, page })) {
        event.preventDefault();
      }
    };
    const up = (event: KeyboardEvent) => {
      if (event.key === " ") space(event, false);
    };
    const away = () => {
      if (document.hidden) workspace.clock.leave();
      else workspace.clock.touch();
    };
    addEventListener("keydown", down);
    addEventListener("keyup", up);
    document.addEventListener("visibilitychange", away);
    return () => {
      gestures.close();
      removeEventListener("keydown", down);
      removeEventListener("keyup", up);
      document.removeEventListener("visibilitychange", away);
    };
  }, [root, workspace, session, setDialog]);
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const text = target instanceof HTMLInputElement && !["range", "checkbox", "radio"].includes(target.type);
  return text || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function isPlainEnter(event: KeyboardEvent): boolean {
  return event.key === "Enter" && !event.ctrlKey && !event.metaKey;
}

/** Enter and Space belong to a button or link that has the focus. */
function isPressable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("button, a, summary, input");
}

function StageNotice({
  session,
  runner,
  workspace,
}: {
  session: AppSession;
  runner: Runner;
  workspace: Workspace | null;
}) {
  const { state } = runner;
  if (state.name === "working" && workspace?.ready) return null;
  if (state.name === "empty") {
    const { message, counts } = state.empty;
    return (
      <div class="notice">
        <h2>{sentence(message)}</h2>
        <p class="soft">
          {Object.entries(counts)
            .filter(([, count]) => count > 0)
            .map(([name, count]) => `${count} ${name.replace("_", " ")}`)
            .join(" · ")}
        </p>
        <button type="button" onClick={() => void runner.start()}>
          Look again
        </button>
        <p class="soft">The page looks by itself every few seconds.</p>
      </div>
    );
  }
  if (state.name === "failed") {
    return (
      <div class="notice">
        <h2>{sentence(state.error.message)}</h2>
        {session.outbox!.status.waiting > 0 && <p class="soft">Your work is kept in this browser and will be saved.</p>}
        <button type="button" onClick={() => void runner.start()}>
          Try again
        </button>
      </div>
    );
  }
  return (
    <div class="notice">
      <p class="soft">{state.name === "working" ? "Opening the image…" : "Taking the next image…"}</p>
    </div>
  );
}

/** How long the mask in hand has taken, against the half minute after which it is better to move on. */
function HandTimer({ workspace }: { workspace: Workspace }) {
  const [, tick] = useState(0);
  const inHand = workspace.active !== null;
  useEffect(() => {
    if (!inHand) return;
    const timer = setInterval(() => {
      workspace.nudge();
      tick((count) => count + 1);
    }, 500);
    return () => clearInterval(timer);
  }, [workspace, inHand]);
  if (!inHand) return null;
  const seconds = workspace.secondsInHand;
  const late = seconds >= workspace.nudgeSeconds;
  return (
    <div class={late ? "hand-timer late" : "hand-timer"}>
      <progress
        max={workspace.nudgeSeconds}
        value={Math.min(seconds, workspace.nudgeSeconds)}
        aria-label="Time on this mask"
      />
      <span>{Math.floor(seconds)} s</span>
      {workspace.prompting.waiting && <span class="busy">model…</span>}
    </div>
  );
}

function Dialogs(props: {
  session: AppSession;
  workspace: Workspace;
  dialog: OpenDialog;
  setDialog: (dialog: OpenDialog) => void;
  leave: (write: () => Promise<void>) => () => Promise<void>;
}) {
  const { session, workspace, dialog, setDialog, leave } = props;
  const close = () => setDialog(null);
  const { skip_reasons, reject_reasons } = session.state!;
  switch (dialog) {
    case "finish":
      return (
        <FinishDialog
          workspace={workspace}
          close={close}
          done={(exhaustive) => leave(() => workspace.saving.finish(exhaustive))()}
          accept={() => leave(() => workspace.saving.review("accept", null, workspace.verdicts.all))()}
          reject={() => setDialog("reject-image")}
        />
      );
    case "skip":
      return (
        <ReasonDialog
          title="Skip this image"
          action="Skip"
          reasons={skip_reasons}
          note
          close={close}
          chosen={(reason, note) => leave(() => workspace.saving.skip(reason, note))()}
        />
      );
    case "reject-image":
      return (
        <ReasonDialog
          title="Reject this image"
          action="Reject"
          reasons={reject_reasons}
          close={close}
          chosen={(reason) => leave(() => workspace.saving.review("reject", reason, workspace.verdicts.all))()}
        />
      );
    case "reject-mask":
      return (
        <ReasonDialog
          title="Reject this mask"
          action="Reject"
          reasons={reject_reasons}
          close={close}
          chosen={(reason) => {
            workspace.verdicts.judge("reject", reason);
            close();
          }}
        />
      );
    case "help":
      return <CheatSheet review={workspace.reviewing} close={close} />;
    default:
      return null;
  }
}
