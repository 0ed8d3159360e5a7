// The graph as the progress bar, and the timeline: what only a run of several nodes has.
export { Graph } from "./views/graph";
export { Timeline } from "./views/timeline";
