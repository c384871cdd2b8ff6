/** Icons of the tool rail: 20 x 20, drawn with the text's colour. */
const PATHS: Record<string, string> = {
  click: "M5 3l10 6-4.4 1.4L8.8 15z",
  box: "M3.5 5.5v9h13v-9zM3.5 5.5h.01M16.5 14.5h.01",
  brush: "M16.5 3.5L8 11M8.6 11.2c-1.9-.4-3.6.8-3.7 2.6 0 1-.6 1.8-1.6 2.2 2.8.9 6 .3 6.2-2.3z",
  eraser: "M8 16.5l-4-4 8-8.5 4.5 4.5-7.5 8zM7.5 8.5l4.5 4.5M8 16.5h8.5",
  select: "M4 4h3M4 4v3M16 4h-3M16 4v3M4 16h3M4 16v-3M16 16h-3M16 16v-3M8 8h4v4H8z",
  redact: "M3 6h14v8H3zM3 11l5-5M6 14l8-8M11 14l6-6",
  undo: "M7 5L3.5 8.5 7 12M4 8.5h7.5a4 4 0 010 8H8",
  redo: "M13 5l3.5 3.5L13 12M16 8.5H8.5a4 4 0 000 8H12",
  eye: "M2.5 10S5 5 10 5s7.5 5 7.5 5-2.5 5-7.5 5-7.5-5-7.5-5zM10 12a2 2 0 100-4 2 2 0 000 4z",
  hidden: "M2.5 10S5 5 10 5s7.5 5 7.5 5-2.5 5-7.5 5-7.5-5-7.5-5zM4 16L16 4",
  fit: "M3.5 7V3.5H7M16.5 7V3.5H13M3.5 13v3.5H7M16.5 13v3.5H13",
  help: "M7.5 7.5a2.5 2.5 0 113.6 2.2c-.8.4-1.1.9-1.1 1.8M10 14.5v.01",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" class="glyph">
      <path d={PATHS[name]} />
    </svg>
  );
}
