import { useState } from "preact/hooks";
import { useEmitter } from "./emitter";
import { Logo } from "./login";
import { SaveState } from "./savestate";
import type { AppSession } from "./session";

export type Page = "annotate" | "review" | "me" | "queue" | "dashboard" | "users";

export const PAGES: { page: Page; label: string; roles: string[] }[] = [
  { page: "annotate", label: "Annotate", roles: ["annotator", "reviewer", "admin"] },
  { page: "review", label: "Review", roles: ["reviewer", "admin"] },
  { page: "me", label: "My work", roles: ["annotator", "reviewer", "admin"] },
  { page: "dashboard", label: "Dashboard", roles: ["reviewer", "admin"] },
  { page: "queue", label: "Queue", roles: ["reviewer", "admin"] },
  { page: "users", label: "People", roles: ["admin"] },
];

type Theme = "light" | "dark" | null;

export function applyTheme(theme: Theme): void {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

export function storedTheme(): Theme {
  const theme = localStorage.getItem("theme");
  return theme === "light" || theme === "dark" ? theme : null;
}

function ThemeButton() {
  const [theme, setTheme] = useState<Theme>(storedTheme());
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const flip = () => {
    const next = dark ? "light" : "dark";
    localStorage.setItem("theme", next);
    applyTheme(next);
    setTheme(next);
  };
  const label = dark ? "Light colours" : "Dark colours";
  return (
    <button type="button" class="quiet icon" aria-label={label} title={label} onClick={flip}>
      {dark ? "☀" : "☾"}
    </button>
  );
}

/** Share of the images of this stage that somebody has finished. */
function Progress({ counts }: { counts: Record<string, number> }) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const done = ["submitted", "in_review", "accepted", "rejected", "skipped"].reduce(
    (sum, state) => sum + (counts[state] ?? 0),
    0,
  );
  if (all === 0) return null;
  return (
    <div class="progress" title={`${done} of ${all} images done, ${counts.accepted ?? 0} accepted`}>
      <progress max={all} value={done} aria-label="Images done" />
      <span>
        {done}/{all}
      </span>
    </div>
  );
}

export function TopBar({ session, page }: { session: AppSession; page: Page }) {
  useEmitter(session);
  const { user, state, outbox } = session;
  if (!user) return null;
  return (
    <header class="topbar">
      <a class="home" href="#/annotate" title={state ? `Engine home: ${state.home}` : ""}>
        <Logo />
      </a>
      <nav aria-label="Pages">
        {PAGES.filter((one) => one.roles.includes(user.role)).map((one) => (
          <a key={one.page} href={`#/${one.page}`} aria-current={one.page === page ? "page" : undefined}>
            {one.label}
          </a>
        ))}
      </nav>
      <div class="grow" />
      {state && <Progress counts={state.counts} />}
      {outbox && <SaveState outbox={outbox} />}
      <ThemeButton />
      <details class="menu">
        <summary>{user.name}</summary>
        <div class="card">
          <p class="soft">{user.role}</p>
          {state?.model && <p class="soft">Model {state.model.name}</p>}
          <button type="button" onClick={() => void session.logout()}>
            Log out
          </button>
        </div>
      </details>
    </header>
  );
}
