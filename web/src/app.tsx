/** Where the page begins. */

import "./styles/app.css";
import { render } from "preact";
import { open, refresh } from "./state/conversations.ts";
import { readAddress } from "./state/page.ts";
import { connect } from "./state/server.ts";
import { App } from "./ui/App.tsx";
import { listen } from "./ui/keyboard.ts";

const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<App />, root);
  listen();
  const follow = () => readAddress((id) => void open(id));
  window.addEventListener("popstate", follow);
  follow();
  void refresh();
  void connect();
}
