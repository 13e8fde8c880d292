/** A button that puts a text where it can be pasted from. */

import { useEffect, useState } from "preact/hooks";

const SAID_MS = 1_500;

interface CopyButtonProps {
  readonly text: string;
  /** What it says, and what it says of it to who cannot see the place. */
  readonly children: string;
  readonly label: string;
}

export function CopyButton({ text, children, label }: CopyButtonProps) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setCopied(false), SAID_MS);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = () => {
    void navigator.clipboard?.writeText(text).then(() => setCopied(true));
  };
  return (
    <button type="button" class="link" onClick={copy} aria-label={label}>
      {isCopied ? "copied" : children}
    </button>
  );
}
