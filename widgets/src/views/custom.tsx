import type { Feed } from "../core/feed";
import { brief, duration } from "../core/format";
import type { CustomPart } from "../core/state";
import { Icon } from "./icons";
import { Fold, pure } from "./parts";
import { Value } from "./value";

const KEPT = 50;
/** A request that is sent again before its answer began. */
const RETRY = "data-retry";

export const Custom = pure(
  ({ id, feed, parts }: { id: string; feed: Feed; parts: CustomPart[]; rev: number }) => {
    const last = parts.at(-1)!;
    if (last.dataType === RETRY) return <Again payloads={parts.map((p) => p.payload)} />;
    if (last.dataType === "data-progress") return <Progress payload={last.payload} />;
    const value = parts.length === 1 ? last.payload : parts.slice(-KEPT).map((p) => p.payload);
    return (
      <Fold
        feed={feed}
        id={id}
        class="tool data"
        open={false}
        summary={
          <>
            <Icon name="data" />
            <span class="title">{last.dataType.replace(/^data-/, "")}</span>
            <span class="args">{brief(last.payload)}</span>
            {parts.length > 1 && <span class="figure">{parts.length}</span>}
          </>
        }
      >
        <Value value={value} />
      </Fold>
    );
  },
);

function Again({ payloads }: { payloads: unknown[] }) {
  const last = (payloads.at(-1) ?? {}) as { reason?: unknown; delay_s?: unknown };
  const reason = typeof last.reason === "string" && last.reason ? ` after ${last.reason}` : "";
  return (
    <p class="note again">
      <Icon name="retry" />
      <span>
        Asked again{reason}
        {payloads.length > 1 && `, ${payloads.length} times`}
      </span>
      {typeof last.delay_s === "number" && <span class="figure">waits {duration(last.delay_s * 1000)}</span>}
    </p>
  );
}

/** What a progress payload says: how much of how much, and of what. */
export function progressOf(payload: unknown): { value: number | null; max: number; label: string } {
  const p = (payload !== null && typeof payload === "object" ? payload : { value: payload }) as Record<string, unknown>;
  const number = (...names: string[]) => {
    for (const name of names) if (typeof p[name] === "number" && Number.isFinite(p[name])) return p[name] as number;
    return null;
  };
  const percent = number("percent", "percentage");
  const value = percent ?? number("value", "current", "completed", "done", "progress");
  const max = percent !== null ? 100 : (number("max", "total") ?? (value !== null && value > 1 ? 100 : 1));
  const label = p["label"] ?? p["message"] ?? p["description"] ?? p["title"];
  return { value, max: max > 0 ? max : 1, label: typeof label === "string" ? label : "" };
}

function Progress({ payload }: { payload: unknown }) {
  const { value, max, label } = progressOf(payload);
  const share = value === null ? null : Math.min(1, Math.max(0, value / max));
  return (
    <div class="progress">
      <span class="title">{label || "Progress"}</span>
      <progress max={1} value={share ?? undefined} aria-label={label || "Progress"} />
      {share !== null && <span class="figure">{max === 1 || max === 100 ? `${Math.round(share * 100)} %` : `${value} of ${max}`}</span>}
    </div>
  );
}
