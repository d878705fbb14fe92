/** The mark: three sheets, one over the other. */
export function Brand({ name }: { name: string }) {
  return (
    <div class="brand">
      <svg width="26" height="26" viewBox="0 0 32 32" aria-hidden="true">
        <path class="sheet low" d="M16 15.5 28 21.5 16 27.5 4 21.5z" />
        <path class="sheet mid" d="M16 10 28 16 16 22 4 16z" />
        <path class="sheet top" d="M16 4.5 28 10.5 16 16.5 4 10.5z" />
      </svg>
      <span class="brand-name">{name}</span>
    </div>
  );
}
