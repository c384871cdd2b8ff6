import { render } from "preact";
import { App } from "./shell/app";
import { AppSession } from "./shell/session";
import { applyTheme, storedTheme } from "./shell/topbar";

applyTheme(storedTheme());
const session = new AppSession();
void session.start();
render(<App session={session} />, document.getElementById("app")!);
