import { describe, expect, it } from "vitest";
import { moment, moved, scaled, within, type Span } from "../src/core/span";

const WHOLE: Span = [100, 200];

describe("a stretch of time", () => {
  it("stays inside the whole and is never too short; all of it is no zoom", () => {
    expect(within([120, 140], WHOLE)).toEqual([120, 140]);
    expect(within([90, 110], WHOLE)).toEqual([100, 120]);
    expect(within([195, 215], WHOLE)).toEqual([180, 200]);
    expect(within([150, 150], WHOLE)).toEqual([150 - 0.005, 150 + 0.005]);
    expect(within([50, 250], WHOLE)).toBeNull();
    expect(within([100, 200], WHOLE)).toBeNull();
  });

  it("is scaled around its middle, and moved to the ends at most", () => {
    expect(scaled([120, 140], 0.5)).toEqual([125, 135]);
    expect(moved([120, 140], 0.5, WHOLE)).toEqual([130, 150]);
    expect(moved([170, 190], 1, WHOLE)).toEqual([180, 200]);
    expect(moved([110, 130], -2, WHOLE)).toEqual([100, 120]);
  });

  it("has a scale as exact as it is short", () => {
    expect([moment(0, 100), moment(50, 100), moment(150, 200), moment(3700, 7000)]).toEqual(["0 s", "50 s", "2 min 30 s", "1 h 1 min"]);
    expect([moment(61.23, 5), moment(0.5, 0.8), moment(0.0123, 0.05)]).toEqual(["61.2 s", "0.50 s", "0.012 s"]);
  });
});
