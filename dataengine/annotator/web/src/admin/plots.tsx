/** Small plots in plain SVG: bars by person, and a line by day. */

export interface Bar {
  label: string;
  value: number | null;
}

const BAR = 26;
const NAME = 110;
const WIDTH = 460;

/** Horizontal bars, each with its name and value: readable without a legend, and by a screen reader. */
export function Bars(props: { title: string; unit?: string; digits?: number; bars: Bar[]; most?: number }) {
  const { title, unit = "", digits = 1, bars } = props;
  const most = props.most ?? Math.max(0, ...bars.map((bar) => bar.value ?? 0));
  const room = WIDTH - NAME - 70;
  return (
    <figure class="plot">
      <figcaption>{title}</figcaption>
      {bars.length === 0 ? (
        <p class="soft">Nothing yet</p>
      ) : (
        <svg viewBox={`0 0 ${WIDTH} ${bars.length * BAR + 4}`} role="img" aria-label={title}>
          {bars.map((bar, index) => {
            const y = index * BAR;
            const length = bar.value !== null && most > 0 ? Math.max(2, (bar.value / most) * room) : 0;
            return (
              <g key={bar.label}>
                <text x={NAME - 10} y={y + 17} text-anchor="end">
                  {bar.label.length > 15 ? `${bar.label.slice(0, 14)}…` : bar.label}
                </text>
                <rect class="track" x={NAME} y={y + 6} width={room} height={14} rx={3} />
                <rect class="bar" x={NAME} y={y + 6} width={length} height={14} rx={3} />
                <text class="value" x={NAME + room + 8} y={y + 17}>
                  {bar.value === null ? "–" : `${bar.value.toFixed(digits)}${unit}`}
                </text>
              </g>
            );
          })}
        </svg>
      )}
    </figure>
  );
}

export interface Series {
  name: string;
  points: { x: string; y: number }[];
}

const HEIGHT = 170;
const PAD = { left: 48, right: 12, top: 10, bottom: 24 };

/** Values by day, one line a person; hover or focus names them through the title. */
export function Lines({ title, series, unit = "" }: { title: string; series: Series[]; unit?: string }) {
  const days = [...new Set(series.flatMap((one) => one.points.map((point) => point.x)))].sort();
  const most = niceTop(Math.max(0, ...series.flatMap((one) => one.points.map((point) => point.y))));
  const x = (day: string) =>
    PAD.left + (days.length > 1 ? days.indexOf(day) / (days.length - 1) : 0.5) * (WIDTH - PAD.left - PAD.right);
  const y = (value: number) => PAD.top + (1 - value / most) * (HEIGHT - PAD.top - PAD.bottom);
  return (
    <figure class="plot">
      <figcaption>{title}</figcaption>
      {days.length === 0 ? (
        <p class="soft">Nothing yet</p>
      ) : (
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={title}>
          {[0, 0.5, 1].map((share) => (
            <g key={share}>
              <line class="grid" x1={PAD.left} x2={WIDTH - PAD.right} y1={y(share * most)} y2={y(share * most)} />
              <text x={PAD.left - 6} y={y(share * most) + 4} text-anchor="end">
                {shortNumber(share * most)}
                {unit}
              </text>
            </g>
          ))}
          {[days[0], days.at(-1)!]
            .filter((day, index) => index === 0 || day !== days[0])
            .map((day, index) => (
              <text
                key={day}
                x={x(day)}
                y={HEIGHT - 6}
                text-anchor={days.length === 1 ? "middle" : index === 0 ? "start" : "end"}
              >
                {day}
              </text>
            ))}
          {series.map((one, index) => (
            <g key={one.name} class={`series s${index % 6}`}>
              <polyline points={one.points.map((point) => `${x(point.x)},${y(point.y)}`).join(" ")} />
              {one.points.map((point) => (
                <circle key={point.x} cx={x(point.x)} cy={y(point.y)} r={3}>
                  <title>
                    {one.name}, {point.x}: {shortNumber(point.y)}
                    {unit}
                  </title>
                </circle>
              ))}
            </g>
          ))}
        </svg>
      )}
      {series.length > 1 && (
        <ul class="legend">
          {series.map((one, index) => (
            <li key={one.name} class={`s${index % 6}`}>
              {one.name}
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}

export function niceTop(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= value) ?? 10;
  return step * power;
}

export function shortNumber(value: number): string {
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(value < 10 ? 2 : 1);
}
