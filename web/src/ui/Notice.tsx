import { notice } from "../state/page.ts";

/** A short message at the bottom of the page. */
export function Notice() {
  const now = notice.value;
  return (
    <div class="notice-place" role="status">
      {now && (
        <div class="notice">
          <span>{now.text}</span>
          {now.action && (
            <button
              type="button"
              class="button small plain"
              onClick={() => {
                notice.value = null;
                now.action?.run();
              }}
            >
              {now.action.label}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
