// The graph as the progress bar, and the timeline: what only a run of several nodes has. And the buttons of one
// that ended early.
export { place } from "./core/place";
export { Again, Bar } from "./views/again";
export { Graph } from "./views/graph";
export { Timeline } from "./views/timeline";
