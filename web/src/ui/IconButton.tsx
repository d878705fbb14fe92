import { Icon, type IconName } from "./Icon.tsx";

interface Props {
  icon: IconName;
  /** What it does, in words: name and tooltip. */
  name: string;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
}

/** A button that shows only an icon. */
export function IconButton({ icon, name, onClick, pressed, disabled, class: extra = "" }: Props) {
  return (
    <button
      type="button"
      class={`icon-button ${extra}`}
      aria-label={name}
      title={name}
      aria-pressed={pressed}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}
