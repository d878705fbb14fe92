import type { FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";

/** A component whose code is fetched when it is first shown. */
export function lazy(load: () => Promise<FunctionComponent>): FunctionComponent {
  let loaded: FunctionComponent | null = null;
  return function Lazy() {
    const [Shown, setShown] = useState<{ it: FunctionComponent } | null>(loaded && { it: loaded });
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (Shown) return;
      load().then(
        (component) => {
          loaded = component;
          setShown({ it: component });
        },
        () => setFailed(true),
      );
    }, []);
    if (failed) return <p class="hint">This part of the page could not be fetched. Reload the page to try again.</p>;
    return Shown ? <Shown.it /> : null;
  };
}
