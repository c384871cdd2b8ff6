import { Icon } from "../shell/icons";
import type { OpenDialog } from "./screen";
import type { Tool, Workspace } from "./workspace";

const TOOLS: { tool: Tool; label: string; key: string }[] = [
  { tool: "click", label: "Click", key: "C" },
  { tool: "box", label: "Box", key: "B" },
  { tool: "brush", label: "Brush", key: "D" },
  { tool: "eraser", label: "Eraser", key: "E" },
  { tool: "select", label: "Select", key: "V" },
  { tool: "redact", label: "Hide faces and plates", key: "X" },
];

export function ToolRail({ workspace, open }: { workspace: Workspace | null; open: (dialog: OpenDialog) => void }) {
  const next = workspace?.history.next;
  const hidden = workspace?.scene.masksHidden ?? false;
  return (
    <aside class="rail" aria-label="Tools">
      {TOOLS.map(({ tool, label, key }) => (
        <RailButton
          key={tool}
          icon={tool}
          label={label}
          shortcut={key}
          pressed={workspace?.tool === tool}
          disabled={!workspace}
          run={() => workspace?.setTool(tool)}
        />
      ))}
      <hr />
      <RailButton
        icon="undo"
        label={next?.undo ? `Undo ${next.undo}` : "Undo"}
        shortcut="Ctrl+Z"
        disabled={!workspace?.history.canUndo}
        run={() => void workspace?.undo()}
      />
      <RailButton
        icon="redo"
        label={next?.redo ? `Redo ${next.redo}` : "Redo"}
        shortcut="Ctrl+Shift+Z"
        disabled={!workspace?.history.canRedo}
        run={() => void workspace?.redo()}
      />
      <hr />
      <RailButton
        icon={hidden ? "hidden" : "eye"}
        label={hidden ? "Show masks" : "Hide masks"}
        shortcut="H"
        pressed={hidden}
        disabled={!workspace}
        run={() => workspace?.setHidden(!hidden)}
      />
      <RailButton
        icon="fit"
        label="Fit the image"
        shortcut="F"
        disabled={!workspace}
        run={() => workspace?.stage.fit()}
      />
      <div class="grow" />
      <RailButton icon="help" label="All keys" shortcut="?" disabled={!workspace} run={() => open("help")} />
    </aside>
  );
}

function RailButton(props: {
  icon: string;
  label: string;
  shortcut: string;
  pressed?: boolean;
  disabled?: boolean;
  run: () => void;
}) {
  return (
    <button
      type="button"
      class="rail-button"
      aria-label={props.label}
      aria-pressed={props.pressed}
      disabled={props.disabled}
      data-tip={`${props.label} · ${props.shortcut}`}
      onClick={(event) => {
        props.run();
        // The next key belongs to the stage.
        event.currentTarget.blur();
      }}
    >
      <Icon name={props.icon} />
    </button>
  );
}
