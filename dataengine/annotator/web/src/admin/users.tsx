import { useState } from "preact/hooks";
import { api } from "../api/client";
import type { Role, User } from "../api/types";
import { type AppSession, sameId, sentence } from "../shell/session";
import { useFetched } from "./fetched";

const ROLES: Role[] = ["annotator", "reviewer", "admin", "service"];

export function UsersPage({ session }: { session: AppSession }) {
  const { value, error, again } = useFetched(api.users);
  const [link, setLink] = useState<{ name: string; url: string } | null>(null);
  const act = async (step: () => Promise<unknown>, said: string) => {
    try {
      await step();
      session.say(said);
      again();
      return true;
    } catch (problem) {
      session.say(sentence(problem instanceof Error ? problem.message : String(problem)), "warn");
      return false;
    }
  };
  const add = async (user: { name: string; password?: string; role: Role }) => {
    let path: string | null = null;
    const done = await act(async () => {
      path = (await api.addUser(user)).link;
    }, `${user.name} was added.`);
    if (done) setLink(path ? { name: user.name, url: location.origin + path } : null);
    return done;
  };
  return (
    <main class="page">
      <h1>People</h1>
      {error && <p class="problem">{sentence(error.message)}</p>}
      <NewUser add={add} />
      {link && (
        <p class="card invitation" role="status">
          Hand this link to <b>{link.name}</b>. It works once, within a week:
          <code>{link.url}</code>
        </p>
      )}
      <div class="table-frame">
        <table>
          <thead>
            <tr>
              <th>Name</th>
              <th>Role</th>
              <th>Password</th>
              <th>Access</th>
            </tr>
          </thead>
          <tbody>
            {(value?.users ?? []).map((user) => (
              <UserRow key={String(user.id)} user={user} me={sameId(user.id, session.user!.id)} act={act} />
            ))}
          </tbody>
        </table>
      </div>
    </main>
  );
}

type Act = (step: () => Promise<unknown>, said: string) => Promise<boolean>;

function UserRow({ user, me, act }: { user: User; me: boolean; act: Act }) {
  const active = user.active !== false;
  const password = () => {
    const chosen = prompt(`A new password for ${user.name} (at least 10 characters)`);
    if (chosen) void act(() => api.changeUser(user.id, { password: chosen }), `${user.name} has a new password.`);
  };
  return (
    <tr class={active ? "" : "dim"}>
      <th scope="row">
        {user.name} {me && <span class="soft">(you)</span>}
      </th>
      <td>
        <select
          value={user.role}
          disabled={me}
          aria-label={`Role of ${user.name}`}
          onChange={(event) => {
            const role = event.currentTarget.value as Role;
            void act(() => api.changeUser(user.id, { role }), `${user.name} is ${role} now.`);
          }}
        >
          {ROLES.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
      </td>
      <td>
        <button type="button" class="small" onClick={password}>
          Set anew
        </button>
      </td>
      <td>
        <button
          type="button"
          class="small"
          disabled={me}
          onClick={() =>
            void act(
              () => api.changeUser(user.id, { active: !active }),
              active ? `${user.name} can't log in any more.` : `${user.name} can log in again.`,
            )
          }
        >
          {active ? "Block" : "Let in again"}
        </button>
      </td>
    </tr>
  );
}

function NewUser({ add }: { add: (user: { name: string; password?: string; role: Role }) => Promise<boolean> }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("annotator");
  const submit = async (event: Event) => {
    event.preventDefault();
    if (await add({ name: name.trim(), role, ...(password ? { password } : {}) })) {
      setName("");
      setPassword("");
    }
  };
  return (
    <form class="card new-user" onSubmit={submit}>
      <label>
        Name
        <input
          name="new-name"
          required
          autocomplete="off"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
      </label>
      <label>
        Password
        <input
          name="new-password"
          type="password"
          placeholder="empty: a link to choose one"
          minLength={10}
          autocomplete="new-password"
          value={password}
          onInput={(event) => setPassword(event.currentTarget.value)}
        />
      </label>
      <label>
        Role
        <select value={role} onChange={(event) => setRole(event.currentTarget.value as Role)}>
          {ROLES.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      <button type="submit" class="primary">
        Add
      </button>
    </form>
  );
}
