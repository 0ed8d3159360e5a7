// What the module of graphs and timelines uses of the hub: one preact, one set of parts.
export { Fragment, jsx, jsxs } from "preact/jsx-runtime";
export { useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
export { progressOf, several } from "./core/flow";
export { count, duration } from "./core/format";
export { adopt, extend } from "./core/theme";
export { Glyph, Icon } from "./views/icons";
export { report } from "./views/errors";
export { CopyButton, Fold } from "./views/parts";
