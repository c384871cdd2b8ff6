import { useState } from "preact/hooks";
import { ApiError, api } from "../api/client";
import { Dialog } from "./dialog";
import { type AppSession, sentence } from "./session";

function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M9 20c-2-6 3-12 9-11s8 8 4 12-11 5-13-1z" />
      <circle cx="16" cy="15" r="2.6" />
    </svg>
  );
}

function LoginForm({ session, name: known }: { session: AppSession; name?: string }) {
  const [name, setName] = useState(known ?? "");
  const [password, setPassword] = useState("");
  const [message, setMessage] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setMessage("");
    try {
      await session.login(name.trim(), password);
    } catch (error) {
      const failure = error instanceof ApiError ? error : new ApiError(0, "page", String(error));
      setMessage(failure.status === 401 ? "Name and password do not match." : sentence(failure.message));
    }
    setBusy(false);
  };
  return (
    <form onSubmit={submit} class="stack">
      <label>
        Name
        <input
          name="name"
          autocomplete="username"
          required
          autofocus={!known}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <label>
        Password
        <input
          name="password"
          type="password"
          autocomplete="current-password"
          required
          autofocus={Boolean(known)}
          value={password}
          onInput={(event) => setPassword(event.currentTarget.value)}
        />
      </label>
      <p class="problem" role="alert">
        {message}
      </p>
      <button type="submit" class="primary" disabled={busy}>
        Log in
      </button>
    </form>
  );
}

export function LoginPage({ session }: { session: AppSession }) {
  return (
    <main class="login">
      <div class="card">
        <div class="brand">
          <Logo />
          <div>
            <h1>Annotate</h1>
            <p class="soft">The open data engine for segmentation</p>
          </div>
        </div>
        <LoginForm session={session} />
      </div>
    </main>
  );
}

/** The session ran out over open work. */
export function LoginAgain({ session }: { session: AppSession }) {
  return (
    <Dialog title="Log in again">
      <p class="soft">Your session has ended. Nothing is lost: what you have drawn is kept here and will be saved.</p>
      <LoginForm session={session} name={session.user?.name} />
    </Dialog>
  );
}

/** Whoever came by the one-time link chooses a name and a password. */
export function Welcome({ token }: { token: string }) {
  const [name, setName] = useState("");
  // The link works once: after a refused password the session it gave goes on.
  const [entered, setEntered] = useState(false);
  const [password, setPassword] = useState("");
  const [message, setMessage] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    setMessage("");
    try {
      if (!entered) await api.loginByLink(token);
      setEntered(true);
      await api.setMe(name.trim(), password);
      // From a clean page: somebody else may have been logged in here.
      history.replaceState(null, "", "/#/annotate");
      location.reload();
    } catch (error) {
      setMessage(sentence(error instanceof Error ? error.message : String(error)));
    }
  };
  return (
    <main class="login">
      <div class="card">
        <div class="brand">
          <Logo />
          <div>
            <h1>Welcome</h1>
            <p class="soft">Choose how you will log in from now on.</p>
          </div>
        </div>
        <form onSubmit={submit} class="stack">
          <label>
            Name
            <input
              name="name"
              autocomplete="username"
              required
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <label>
            New password
            <input
              name="password"
              type="password"
              autocomplete="new-password"
              required
              minLength={10}
              autofocus
              value={password}
              onInput={(event) => setPassword(event.currentTarget.value)}
            />
            <small>At least 10 characters.</small>
          </label>
          <p class="problem" role="alert">
            {message}
          </p>
          <button type="submit" class="primary">
            Start
          </button>
        </form>
      </div>
    </main>
  );
}

export { Logo };
