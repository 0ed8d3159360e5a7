import type { ComponentChildren } from "preact";
import type { Feed } from "../core/feed";
import { brief, duration } from "../core/format";
import type { CustomPart } from "../core/state";
import { useSeconds } from "./clock";
import { Icon, type IconName } from "./icons";
import { Fold, pure } from "./parts";
import { Value } from "./value";

const KEPT = 50;
/** A request that is sent again before its answer began. */
const RETRY = "data-retry";
/** The steps of a recursive model: one list, whatever their types. */
export const STEPS = /^data-rlm-/;

interface Props {
  id: string;
  feed: Feed;
  parts: CustomPart[];
  /** Whether the node is still at it. */
  live: boolean;
  rev: number;
}

export const Custom = pure(({ id, feed, parts, live }: Props) => {
  const last = parts.at(-1)!;
  if (last.dataType === RETRY) return <Again feed={feed} parts={parts} live={live} />;
  if (last.dataType === "data-progress") return <Progress payload={last.payload} live={live} />;
  if (STEPS.test(last.dataType)) return <Steps id={id} feed={feed} parts={parts} live={live} />;
  const value = parts.length === 1 ? last.payload : parts.slice(-KEPT).map((p) => p.payload);
  return (
    <Data feed={feed} id={id} icon="data" title={last.dataType.replace(/^data-/, "")} args={brief(last.payload)} value={value}>
      {parts.length > 1 && <span class="figure">{parts.length}</span>}
    </Data>
  );
});

interface DataProps {
  id: string;
  feed: Feed;
  icon: IconName;
  title: string;
  args: string;
  value: unknown;
  children?: ComponentChildren;
}

function Data({ id, feed, icon, title, args, value, children }: DataProps) {
  return (
    <Fold
      feed={feed}
      id={id}
      class="tool data"
      open={false}
      summary={
        <>
          <Icon name={icon} />
          <span class="title">{title}</span>
          <span class="args">{args}</span>
          {children}
        </>
      }
    >
      <Value value={value} />
    </Fold>
  );
}

function Again({ feed, parts, live }: { feed: Feed; parts: CustomPart[]; live: boolean }) {
  const part = parts.at(-1)!;
  const said = (part.payload ?? {}) as { reason?: unknown; delay_s?: unknown };
  const reason = typeof said.reason === "string" && said.reason ? ` after ${said.reason}` : "";
  const times = parts.length > 1 ? `, ${parts.length} times` : "";
  return (
    <p class="note again">
      <Icon name="retry" />
      <span>
        {live ? "Asking again" : "Asked again"}
        {reason}
        {times}
      </span>
      {live && typeof said.delay_s === "number" && (
        <Countdown key={parts.length} seconds={said.delay_s - Math.max(0, feed.run.lastTimestamp - part.at)} />
      )}
    </p>
  );
}

function Countdown({ seconds }: { seconds: number }) {
  const left = seconds - useSeconds(true);
  return <span class="figure">{left > 0 ? `in ${duration(Math.ceil(left) * 1000).replace(".0 s", " s")}` : "now"}</span>;
}

/** The words of a step: what a payload calls it, else the payload on one line. */
export function stepOf(part: CustomPart): { name: string; text: string; bad: boolean } {
  const p = part.payload;
  const name = part.dataType.replace(STEPS, "").replace(/-/g, " ") || "step";
  const bad = /error|exhausted/.test(part.dataType);
  if (p === null || typeof p !== "object" || Array.isArray(p)) return { name, text: brief(p ?? ""), bad };
  const { step, budget: _, ...rest } = p as Record<string, unknown>;
  const words = ["label", "text", "query", "reason", "error", "answer"].map((k) => rest[k]).find((v) => typeof v === "string" && v);
  return { name: step === undefined ? name : `${name} ${brief(step, 12)}`, text: brief(words ?? rest), bad };
}

function Steps({ id, feed, parts, live }: { id: string; feed: Feed; parts: CustomPart[]; live: boolean }) {
  const shown = parts.slice(-KEPT);
  return (
    <div class="steps">
      {shown.length < parts.length && <p class="note">The last {KEPT} of {parts.length} steps.</p>}
      <ol>
        {shown.map((part, i) => {
          const { name, text, bad } = stepOf(part);
          const busy = live && i === shown.length - 1;
          return (
            <li key={part.key} class={bad ? "bad" : ""}>
              <Data feed={feed} id={`${id}/${part.key}`} icon={bad ? "cross" : busy ? "spinner" : "check"} title={name} args={text} value={part.payload} />
            </li>
          );
        })}
      </ol>
    </div>
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

function Progress({ payload, live }: { payload: unknown; live: boolean }) {
  const { value, max, label } = progressOf(payload);
  const share = value === null ? null : Math.min(1, Math.max(0, value / max));
  return (
    <div class="progress">
      <span class="title">{label || "Progress"}</span>
      {(share !== null || live) && <progress max={1} value={share ?? undefined} aria-label={label || "Progress"} />}
      {share !== null && <span class="figure">{max === 1 || max === 100 ? `${Math.round(share * 100)} %` : `${value} of ${max}`}</span>}
    </div>
  );
}
