import { useSignal } from "@preact/signals";
import { tell } from "../state/page.ts";
import { IconButton } from "./IconButton.tsx";

/** Copies `text`; a tick says that it was done. */
export function CopyButton({ text, name }: { text: string; name: string }) {
  const done = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      done.value = true;
      setTimeout(() => (done.value = false), 1600);
    } catch {
      tell({ text: "This browser does not let the page copy. Select the text and press Ctrl C." });
    }
  };
  return <IconButton icon={done.value ? "check" : "copy"} name={done.value ? "Copied" : name} onClick={() => void copy()} />;
}
