/** Keys that work everywhere: Ctrl+K new chat, Esc stops the answer, else closes what is open. */

import { lives, stop } from "../state/chat.ts";
import { current, startNew } from "../state/conversations.ts";
import { closePanel, panel, railOpen } from "../state/page.ts";

export function listen(): void {
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      startNew();
    } else if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) {
      if (lives.value.has(current.value.id)) stop();
      else if (panel.value) closePanel();
      else railOpen.value = false;
    }
  });
}
