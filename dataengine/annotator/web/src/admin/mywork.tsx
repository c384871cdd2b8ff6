import { api } from "../api/client";
import type { Totals } from "../api/types";
import { sentence } from "../shell/session";
import { useFetched } from "./fetched";

export function MyWorkPage() {
  const { value, error } = useFetched(api.myStatistics, 30_000);
  return (
    <main class="page">
      <h1>My work</h1>
      {error && <p class="problem">{sentence(error.message)}</p>}
      {value && (
        <>
          <Tiles title="Today" totals={value.today} />
          <Tiles title="In all" totals={value.total} />
          <p class="soft">
            Seconds are active time: pauses over 15 s count as 15 s, and time in another tab not at all. The paper's
            annotators went from 34 to 14 s a mask as the model got better.
          </p>
        </>
      )}
    </main>
  );
}

export function number(value: number | null | undefined, digits = 0): string {
  return value === null || value === undefined
    ? "–"
    : value.toLocaleString(undefined, { maximumFractionDigits: digits });
}

function Tiles({ title, totals }: { title: string; totals: Partial<Totals> }) {
  const tiles: [string, string][] = [
    ["masks", number(totals.masks)],
    ["images", number(totals.images)],
    ["seconds a mask", number(totals.seconds_per_mask, 1)],
    ["clicks a mask", number(totals.clicks_per_mask, 1)],
    ["accepted", number(totals.accepted)],
    ["rejected", number(totals.rejected)],
  ];
  return (
    <section>
      <h2>{title}</h2>
      <div class="tiles">
        {tiles.map(([label, value]) => (
          <div class="tile" key={label}>
            <b>{value}</b>
            <small>{label}</small>
          </div>
        ))}
      </div>
    </section>
  );
}
