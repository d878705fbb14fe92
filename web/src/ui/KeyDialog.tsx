import { useRef } from "preact/hooks";
import { keyWanted } from "../state/page.ts";
import { Dialog } from "./Dialog.tsx";

/** Asks for the API key when the server wants one; the request that was refused then goes on by itself. */
export function KeyDialog() {
  const field = useRef<HTMLInputElement>(null);
  if (!keyWanted.value) return null;
  const { refused, answer } = keyWanted.value;
  return (
    <Dialog title="This server wants an API key" onClose={() => answer(null)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const key = field.current?.value.trim();
          if (key) answer(key);
        }}
      >
        <label class="field">
          <span>API key</span>
          <input ref={field} type="password" autocomplete="off" placeholder="lsk_…" autofocus required />
        </label>
        {refused && <p class="refused" role="alert">This key was not accepted.</p>}
        <p class="hint">
          Whoever runs the server makes one with <code>lamina keys create</code>. It is kept in this tab only and
          forgotten when the tab closes.
        </p>
        <div class="dialog-actions">
          <button type="button" class="button" onClick={() => answer(null)}>
            Not now
          </button>
          <button type="submit" class="button primary">
            Use this key
          </button>
        </div>
      </form>
    </Dialog>
  );
}
