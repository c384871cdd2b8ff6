import { useEffect, useRef, useState } from "preact/hooks";
import { cssColour } from "../canvas/palette";
import type { Committed } from "./committed";
import type { Workspace } from "./workspace";

const ROW = 30;

/** The committed masks in the order of making; only the rows in sight exist, so a thousand are no load. */
export function MaskList({ workspace }: { workspace: Workspace }) {
  const { committed } = workspace;
  const { list } = committed;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(300);
  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(() => setHeight(box.current?.clientHeight ?? 300));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const selected = committed.selected;
  useEffect(() => {
    const at = list.findIndex((one) => one.record.id === selected);
    const { current } = box;
    if (at < 0 || !current) return;
    if (at * ROW < current.scrollTop) current.scrollTop = at * ROW;
    else if ((at + 1) * ROW > current.scrollTop + current.clientHeight) {
      current.scrollTop = (at + 1) * ROW - current.clientHeight;
    }
  }, [selected]);
  // A mask that was just made is the last one.
  useEffect(() => {
    const { current } = box;
    if (current && current.scrollHeight > current.clientHeight) current.scrollTop = current.scrollHeight;
  }, [list.length]);
  const first = Math.max(0, Math.floor(top / ROW) - 4);
  const rows = list.slice(first, first + Math.ceil(height / ROW) + 8);
  return (
    <section class="masks">
      <h2>
        Masks <span data-count={list.length}>{list.length}</span>
      </h2>
      <div
        class="scroll"
        ref={box}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        role="listbox"
        aria-label="Committed masks"
      >
        <div class="spacer" style={{ height: `${list.length * ROW}px` }}>
          <div style={{ transform: `translateY(${first * ROW}px)` }}>
            {rows.map((one, index) => (
              <Row key={one.record.id} workspace={workspace} one={one} number={first + index + 1} />
            ))}
          </div>
        </div>
        {list.length === 0 && <p class="soft nothing">None yet</p>}
      </div>
    </section>
  );
}

function Row({ workspace, one, number }: { workspace: Workspace; one: Committed; number: number }) {
  const { record } = one;
  const verdict = workspace.reviewing ? workspace.verdicts.get(record.id) : null;
  const chosen = workspace.committed.selected === record.id;
  const pick = () => {
    workspace.select(chosen ? null : record.id);
    if (workspace.tool !== "select" && !workspace.active) workspace.setTool("select");
  };
  return (
    <button
      type="button"
      role="option"
      class={workspace.committed.isShown(one) ? "mask-row" : "mask-row dim"}
      aria-selected={chosen}
      data-mask={record.id}
      onClick={(event) => {
        pick();
        event.currentTarget.blur();
      }}
    >
      <i style={{ background: cssColour(one.slot) }} />
      <span class="number">{number}</span>
      <span class="what">
        {label(one)}
        {record.group && <em>group</em>}
        {record.locked && <em>locked</em>}
      </span>
      {record.score !== null && <small>{record.score.toFixed(2)}</small>}
      {verdict && (
        <small class={`verdict ${verdict.verdict}`}>
          {verdict.verdict === "fixed" ? "fixed" : `${verdict.verdict}ed`}
        </small>
      )}
    </button>
  );
}

function label({ record, area }: Committed): string {
  const size = area >= 10_000 ? `${Math.round(area / 1000)}k px` : `${area} px`;
  const names = { assisted: "clicked", brushed: "brushed", prefill: "prefilled", automatic: "automatic" };
  return `${names[record.source]} · ${size}`;
}
