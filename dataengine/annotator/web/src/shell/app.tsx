import { useEffect, useState } from "preact/hooks";
import { DashboardPage } from "../admin/dashboard";
import { MyWorkPage } from "../admin/mywork";
import { QueuePage } from "../admin/queue";
import { UsersPage } from "../admin/users";
import { AnnotateScreen } from "../annotate/screen";
import { useEmitter } from "./emitter";
import { LoginAgain, LoginPage, Welcome } from "./login";
import type { AppSession } from "./session";
import { PAGES, type Page, TopBar } from "./topbar";

function pageOf(hash: string): Page {
  const name = hash.replace(/^#\/?/, "").split("?")[0];
  return PAGES.find((one) => one.page === name)?.page ?? "annotate";
}

/** The token of a one-time link: in the fragment, which never reaches a server's log, or in the query. */
function linkToken(): string | null {
  const found = /(?:link|token)=([^&]+)/.exec(location.hash) ?? /[?&](?:link|token)=([^&]+)/.exec(location.search);
  return found ? decodeURIComponent(found[1]) : null;
}

export function App({ session }: { session: AppSession }) {
  useEmitter(session);
  const [page, setPage] = useState<Page>(pageOf(location.hash));
  const [token] = useState(linkToken());
  useEffect(() => {
    const follow = () => setPage(pageOf(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  if (token) return <Welcome token={token} />;
  if (!session.known || session.unreachable) {
    return (
      <main class="centre">
        <p class="soft">{session.unreachable ? "The server can't be reached. Trying again…" : "Loading…"}</p>
      </main>
    );
  }
  const { user } = session;
  if (!user) return <LoginPage session={session} />;
  const allowed = PAGES.find((one) => one.page === page)!.roles.includes(user.role) ? page : "annotate";
  return (
    <>
      <TopBar session={session} page={allowed} />
      <Screen session={session} page={allowed} />
      {session.loginNeeded && <LoginAgain session={session} />}
      <div class="toasts" role="status">
        {session.toasts.map((toast) => (
          <button type="button" key={toast.id} class={`toast ${toast.tone}`} onClick={() => session.dismiss(toast.id)}>
            {toast.message}
          </button>
        ))}
      </div>
    </>
  );
}

function Screen({ session, page }: { session: AppSession; page: Page }) {
  if (!session.state) return <main class="centre soft">Loading…</main>;
  switch (page) {
    case "annotate":
    case "review":
      return <AnnotateScreen key={page} session={session} kind={page} />;
    case "me":
      return <MyWorkPage />;
    case "dashboard":
      return <DashboardPage />;
    case "queue":
      return <QueuePage session={session} />;
    case "users":
      return <UsersPage session={session} />;
  }
}
