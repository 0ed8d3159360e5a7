import type { Feed } from "../core/feed";
import { brief, count, duration, own, pretty, pythonCall } from "../core/format";
import { safeImage } from "../core/markdown";
import type { ToolPart, ToolStatus } from "../core/state";
import { Icon, type IconName } from "./icons";
import { CopyButton, Fold, pure } from "./parts";
import { unwrapped, Value } from "./value";

const STATES: Record<ToolStatus, [IconName, string]> = {
  writing: ["spinner", "writing arguments"],
  running: ["spinner", "running"],
  ok: ["check", ""],
  error: ["cross", "failed"],
  denied: ["stop", "denied"],
  cancelled: ["stop", "stopped"],
  not_executed: ["stop", "not run"],
};

interface Props {
  id: string;
  feed: Feed;
  parts: ToolPart[];
  rev: number;
}

export const Tools = pure(({ id, feed, parts }: Props) => {
  if (parts.length === 1) return <Tool feed={feed} id={id} part={parts[0]!} rev={parts[0]!.rev} />;
  const busy = parts.find((p) => p.status === "running" || p.status === "writing");
  const failed = parts.filter((p) => p.status === "error").length;
  const total = parts.reduce((ms, p) => ms + (p.durationMs ?? 0), 0);
  return (
    <Fold
      feed={feed}
      id={`${id}*`}
      class="tools"
      open={busy !== undefined}
      summary={
        <>
          <Icon name={busy ? "spinner" : "tool"} />
          <span class="title">{count(parts.length, "tool call")}</span>
          <span class="args">{[...new Set(parts.map((p) => p.name))].slice(0, 5).join(", ")}</span>
          {failed > 0 && <span class="tag bad">{failed} failed</span>}
          {total > 0 && <span class="figure">{duration(total)}</span>}
        </>
      }
    >
      {parts.map((part) => (
        <Tool key={part.key} feed={feed} id={`${id}/${part.key}`} part={part} rev={part.rev} />
      ))}
    </Fold>
  );
});

const Tool = pure(({ id, feed, part }: { id: string; feed: Feed; part: ToolPart; rev: number }) => {
  const [icon, state] = own<[IconName, string]>(STATES, part.status) ?? ["check", part.status];
  const args = part.args ?? part.raw;
  const has = !(part.args === undefined && !part.raw);
  return (
    <Fold
      feed={feed}
      id={id}
      class={`tool ${part.status}`}
      open={false}
      summary={
        <>
          <Icon name={icon === "check" ? "tool" : icon} />
          <span class="title">{part.name || "tool"}</span>
          <span class="args">{has ? brief(args) : ""}</span>
          {part.provider && <span class="tag">by the provider</span>}
          {!part.provider && part.again && <span class="tag again">{part.again}</span>}
          {state && <span class={part.status === "error" ? "tag bad" : "tag"}>{state}</span>}
          {part.durationMs !== null && <span class="figure">{duration(part.durationMs)}</span>}
        </>
      }
    >
      {has && (
        <div class="field">
          <div class="caption">
            Arguments
            {part.args !== undefined && (
              <CopyButton text={() => pythonCall(part.name, part.args)} label="Copy the call as Python">
                Copy as Python
              </CopyButton>
            )}
          </div>
          {part.args === undefined ? <pre class="value">{part.raw}</pre> : <Value value={part.args} />}
        </div>
      )}
      {part.output !== undefined && part.output !== null && (
        <div class="field">
          <div class="caption">
            Result
            <CopyButton text={() => pretty(part.output)} label="Copy the result">
              Copy
            </CopyButton>
          </div>
          <Value value={unwrapped(part.output)} image={safeImage} />
        </div>
      )}
      {part.error !== null && (
        <div class="field">
          <div class="caption">Error</div>
          <pre class="value bad">{part.error}</pre>
        </div>
      )}
    </Fold>
  );
});
