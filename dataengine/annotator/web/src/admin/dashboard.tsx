import { api } from "../api/client";
import { sentence } from "../shell/session";
import { useFetched } from "./fetched";
import { number } from "./mywork";
import { Bars, Lines } from "./plots";

interface Day {
  day: string;
  masks: number;
  seconds_per_mask: number | null;
  clicks_per_mask: number | null;
  edit_iou: number | null;
}

interface Annotator {
  name: string;
  masks: number;
  images: number;
  seconds_per_mask: number | null;
  clicks_per_mask: number | null;
  edit_iou: number | null;
  agreement: number | null;
  accepted: number;
  rejected: number;
  /** Stage 2: suggestions held back and the share that was added; bad ones planted and the share that was left. */
  withheld: number;
  recall: number | null;
  planted: number;
  automation_bias: number | null;
  days: Day[];
}

interface Statistics {
  annotators: Annotator[];
  queue: Record<string, number>;
  overall: Partial<Annotator>;
}

type Figure = "seconds_per_mask" | "clicks_per_mask" | "edit_iou" | "agreement" | "recall" | "automation_bias";

const STATES = ["pending", "ready", "leased", "submitted", "in_review", "accepted", "rejected", "skipped"];

export function DashboardPage() {
  const { value, error } = useFetched(async () => (await api.statistics()) as unknown as Statistics, 30_000);
  if (!value) {
    return (
      <main class="page">
        <h1>Dashboard</h1>
        <p class={error ? "problem" : "soft"}>{error ? sentence(error.message) : "Loading…"}</p>
      </main>
    );
  }
  const { annotators, queue, overall } = value;
  const probed = Boolean(overall.withheld || overall.planted);
  const bars = (key: Figure) => annotators.map((one) => ({ label: one.name, value: one[key] ?? null }));
  const byDay = (key: "masks" | "seconds_per_mask") =>
    annotators
      .map((one) => ({
        name: one.name,
        points: (one.days ?? [])
          .filter((day) => day[key] !== null)
          .map((day) => ({ x: day.day, y: day[key] as number })),
      }))
      .filter((one) => one.points.length > 0);
  return (
    <main class="page">
      <h1>Dashboard</h1>
      {error && <p class="problem">{sentence(error.message)}</p>}
      <QueueBar queue={queue} />
      <div class="tiles">
        <Tile label="masks" value={number(overall.masks)} />
        <Tile label="seconds a mask" value={number(overall.seconds_per_mask, 1)} />
        <Tile label="clicks a mask" value={number(overall.clicks_per_mask, 1)} />
        <Tile label="edit IoU" value={number(overall.edit_iou, 3)} />
        <Tile label="agreement (PQ)" value={number(overall.agreement, 3)} />
        {probed && <Tile label="recall" value={number(overall.recall, 2)} />}
        {probed && <Tile label="automation bias" value={number(overall.automation_bias, 2)} />}
      </div>
      <div class="plots">
        <Bars title="Seconds a mask" bars={bars("seconds_per_mask")} unit=" s" />
        <Bars title="Clicks a mask" bars={bars("clicks_per_mask")} />
        <Bars title="Edit IoU: the model's mask against the final one" bars={bars("edit_iou")} digits={3} most={1} />
        <Bars title="Agreement of overlapping passes (panoptic quality)" bars={bars("agreement")} digits={3} most={1} />
        {probed && (
          <Bars title="Recall: suggestions held back that were added" bars={bars("recall")} digits={2} most={1} />
        )}
        {probed && (
          <Bars
            title="Automation bias: bad suggestions that were left"
            bars={bars("automation_bias")}
            digits={2}
            most={1}
          />
        )}
        <Lines title="Masks a day" series={byDay("masks")} />
        <Lines title="Seconds a mask, by day" series={byDay("seconds_per_mask")} unit=" s" />
      </div>
      <AnnotatorTable annotators={annotators} probed={probed} />
    </main>
  );
}

function Tile({ label, value }: { label: string; value: string }) {
  return (
    <div class="tile">
      <b>{value}</b>
      <small>{label}</small>
    </div>
  );
}

/** Where all images of the stage are, as one bar. */
export function QueueBar({ queue }: { queue: Record<string, number> }) {
  const all = STATES.reduce((sum, state) => sum + (queue[state] ?? 0), 0);
  if (all === 0) return null;
  const shown = STATES.filter((state) => (queue[state] ?? 0) > 0);
  return (
    <section class="queue-bar">
      <div class="bar" role="img" aria-label={shown.map((state) => `${queue[state]} ${state}`).join(", ")}>
        {shown.map((state) => (
          <i key={state} class={state} style={{ flexGrow: queue[state] }} title={`${queue[state]} ${state}`} />
        ))}
      </div>
      <ul>
        {shown.map((state) => (
          <li key={state} class={state}>
            <b>{queue[state]}</b> {state.replace("_", " ")}
          </li>
        ))}
      </ul>
    </section>
  );
}

function AnnotatorTable({ annotators, probed }: { annotators: Annotator[]; probed: boolean }) {
  return (
    <div class="table-frame">
      <table>
        <thead>
          <tr>
            <th>Person</th>
            <th>Masks</th>
            <th>Images</th>
            <th>s / mask</th>
            <th>Clicks / mask</th>
            <th>Edit IoU</th>
            <th>Agreement</th>
            <th>Accepted</th>
            <th>Rejected</th>
            {probed && <th>Recall (of)</th>}
            {probed && <th>Automation bias (of)</th>}
          </tr>
        </thead>
        <tbody>
          {annotators.map((one) => (
            <tr key={one.name}>
              <th scope="row">{one.name}</th>
              <td>{number(one.masks)}</td>
              <td>{number(one.images)}</td>
              <td>{number(one.seconds_per_mask, 1)}</td>
              <td>{number(one.clicks_per_mask, 1)}</td>
              <td>{number(one.edit_iou, 3)}</td>
              <td>{number(one.agreement, 3)}</td>
              <td>{number(one.accepted)}</td>
              <td>{number(one.rejected)}</td>
              {probed && <td>{shareOf(one.recall, one.withheld)}</td>}
              {probed && <td>{shareOf(one.automation_bias, one.planted)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function shareOf(share: number | null, count: number): string {
  return count > 0 ? `${number(share, 2)} (${count})` : "–";
}
