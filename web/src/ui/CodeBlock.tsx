import { useEffect, useRef } from "preact/hooks";
import { highlight } from "../lib/highlight.ts";
import { CopyButton } from "./CopyButton.tsx";

/** Code with its language and a copy button; colours come when it is complete. */
export function CodeBlock({ code, language, growing }: { code: string; language: string; growing: boolean }) {
  const place = useRef<HTMLElement>(null);
  const name = language.split(/\s/)[0]?.toLowerCase() ?? "";
  useEffect(() => {
    // the element's content is ours: as one text while it grows, as coloured nodes afterwards
    place.current?.replaceChildren(code);
    if (growing || !name) return;
    let wanted = true;
    highlight(code, name)
      .then((nodes) => {
        if (nodes && wanted) place.current?.replaceChildren(...nodes);
      })
      .catch(() => undefined); // plain code is code too
    return () => {
      wanted = false;
    };
  }, [code, name, growing]);
  return (
    <figure class="code">
      <figcaption>
        <span>{name || "text"}</span>
        <CopyButton text={code} name="Copy code" />
      </figcaption>
      <pre tabIndex={0} aria-label={`Code, ${name || "text"}`}>
        <code ref={place} />
      </pre>
    </figure>
  );
}
