import { lazy } from "../lib/lazy.tsx";
import { current } from "../state/conversations.ts";
import { panel, railOpen, view } from "../state/page.ts";
import { chats } from "../state/server.ts";
import { Announcer } from "./Announcer.tsx";
import { ChatView } from "./ChatView.tsx";
import { IconButton } from "./IconButton.tsx";
import { KeyDialog } from "./KeyDialog.tsx";
import { Notice } from "./Notice.tsx";
import { Rail } from "./Rail.tsx";
import { SidePanel } from "./SidePanel.tsx";

/** Few visits need it: a chunk of its own. */
const ReleasesView = lazy(() => import("./releases/ReleasesView.tsx").then((module) => module.ReleasesView));

const TextsView = lazy(() => import("./texts/TextsView.tsx").then((module) => module.TextsView));

/** The whole page: rail, middle, side panel. */
export function App() {
  const open = view.value === "chat" && chats.value ? panel.value : null;
  return (
    <div class={`app ${open ? "with-panel" : ""}`}>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the content
      </button>
      <Rail />
      {railOpen.value && <div class="veil" onClick={() => (railOpen.value = false)} />}
      <div class="middle">
        <div class="topbar only-narrow">
          <IconButton icon="menu" name="Open menu" onClick={() => (railOpen.value = true)} />
          <span class="topbar-title">{title()}</span>
        </div>
        {view.value === "releases" ? <ReleasesView /> : chats.value ? <ChatView /> : <TextsView />}
      </div>
      {open && <SidePanel panel={open} />}
      <Announcer />
      <Notice />
      <KeyDialog />
    </div>
  );
}

function title(): string {
  if (view.value === "releases") return "Releases";
  return chats.value ? current.value.title || "New chat" : "Texts";
}
