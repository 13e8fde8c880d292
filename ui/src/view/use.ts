/** The few hooks of the views. */

import { useEffect, useReducer, useState } from "preact/hooks";

/** Draws again whenever the source says that it has changed. */
export function useChanges(source: { subscribe(listener: () => void): () => void }): void {
  const [, changed] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => source.subscribe(() => changed()), [source]);
}

/** The time, each second, while somebody looks. */
export function useNow(isRunning: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isRunning) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [isRunning]);
  return now;
}

/** Whether the screen is as a media query says. */
export function useMedia(query: string): boolean {
  const [isSo, setSo] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = () => setSo(media.matches);
    changed();
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return isSo;
}
