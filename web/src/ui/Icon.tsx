/** Line icons on a 24 px grid; decoration only, so hidden from screen readers. */

const PATHS = {
  plus: "M12 5v14M5 12h14",
  chat: "M20 15a3 3 0 0 1-3 3H9l-5 4V7a3 3 0 0 1 3-3h10a3 3 0 0 1 3 3z",
  layers: "M12 3 3 8l9 5 9-5zM3 12.5l9 5 9-5M3 17l9 5 9-5",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6 6 18",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 12.5l4.5 4.5L19 7.5",
  redo: "M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5",
  up: "M7 11v9H4v-9zM7 11l4-8c1.7 0 3 1.2 3 3v3.5h4.6c1.3 0 2.2 1.1 2 2.4l-1.1 6.2a2.3 2.3 0 0 1-2.3 1.9H7",
  down: "M17 13V4h3v9zM17 13l-4 8c-1.7 0-3-1.2-3-3v-3.5H5.4c-1.3 0-2.2-1.1-2-2.4L4.5 5.9A2.3 2.3 0 0 1 6.8 4H17",
  pen: "M4 20l1-4.5L16.5 4a2 2 0 0 1 2.8 0l.7.7a2 2 0 0 1 0 2.8L8.5 19zM14.5 6l3.5 3.5",
  chain: "M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3a4 4 0 0 0 5.7 5.7l1-1",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  key: "M15 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM11.5 12.5 4 20M7 17l2.5 2.5",
  alert: "M12 4 2.5 20h19zM12 10v4.5M12 17.2v.3",
  book: "M5 5a2 2 0 0 1 2-2h12v15H7a2 2 0 0 0-2 2zM5 20a2 2 0 0 0 2 2h12v-4",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  arrow: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  spark: "M12 3l1.9 6.1L20 11l-6.1 1.9L12 19l-1.9-6.1L4 11l6.1-1.9z",
  back: "M9 7 4 12l5 5M4 12h11a5 5 0 0 1 0 10",
  link: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
