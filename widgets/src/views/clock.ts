// Seconds that go by in the page.
import { useEffect, useState } from "preact/hooks";

/** Seconds since this was first drawn, while active; the page's clock may differ from the kernel's. */
export function useSeconds(active: boolean): number {
  const [seen] = useState(() => Date.now());
  const [now, setNow] = useState(seen);
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [active]);
  return Math.max(0, (now - seen) / 1000);
}
