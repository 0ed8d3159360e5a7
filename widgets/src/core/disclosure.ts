// When a reasoning block is open. The reader's choice wins; by itself it opens while it streams and closes
// once, a moment after its end, unless the node failed before anything else came.

export const LINGER = 1000;

export interface Disclosure {
  choice: boolean | undefined;
  streaming: boolean;
  /** It ended while it was on view and its moment is not over. */
  lingering: boolean;
  /** It is the last thing of a node that failed. */
  stranded: boolean;
}

export const isOpen = ({ choice, streaming, lingering, stranded }: Disclosure): boolean =>
  choice ?? (streaming || lingering || stranded);
