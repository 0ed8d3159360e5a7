// Where the parts of the front end meet in a page: one place for each build, so that two versions may be there at once.
import type { Hub } from "../hub";

declare const __HUB__: string;

export interface Slot {
  hub: Promise<Hub>;
  publish(hub: Hub): void;
  /** When a stub last asked its kernel for the hub. */
  asked: number;
}

const page = globalThis as unknown as Record<string, Record<string, Slot> | undefined>;

/** The place of this build. */
export function slot(): Slot {
  const hubs = (page["mesh_nb"] ??= {});
  let found = hubs[__HUB__];
  if (!found) {
    let publish!: (hub: Hub) => void;
    const hub = new Promise<Hub>((resolve) => (publish = resolve));
    found = hubs[__HUB__] = { hub, publish, asked: 0 };
  }
  return found;
}
