import type { Feed } from "../core/feed";
import { isWaiting } from "../core/flow";
import { duration } from "../core/format";
import { brief } from "../core/reading";
import type { NodeState, Part, RunState, TextPart, ToolPart, CustomPart } from "../core/state";
import { Ask } from "./approval";
import { Custom, STEPS } from "./custom";
import { NodeProblem, ownWords, Retry } from "./errors";
import { FileView } from "./files";
import { Icon, type IconName } from "./icons";
import { Markdown } from "./markdown";
import { Badge, Fold, pure } from "./parts";
import { Reasoning } from "./reasoning";
import { Tools } from "./tools";

const ICONS: Record<NodeState["status"], IconName> = {
  running: "spinner",
  completed: "check",
  failed: "cross",
  stopped: "stop",
};

interface Props {
  feed: Feed;
  run: RunState;
  node: NodeState;
  named: boolean;
  /** Whether it is open unless the reader chose. */
  open: boolean;
  rev: number;
}

export const NodeView = pure(({ feed, run, node, named, open }: Props) => {
  const parts = (
    <>
      <Parts feed={feed} node={node} parts={node.parts} />
      {node.error !== null && !ownWords(run) && <NodeProblem run={run} node={node} />}
    </>
  );
  const label = named && <Label node={node} />;
  const words = open ? "" : brief(node);
  return (
    <section class={`node ${node.status}`} role="group" aria-label={named ? nameOf(node) : undefined}>
      {!label ? (
        parts
      ) : node.parts.length || node.error !== null ? (
        <Fold
          feed={feed}
          id={`node ${node.key}`}
          class={open ? "visit" : "visit before"}
          open={open}
          summary={
            <>
              {label}
              {words && <span class="args words">{words}</span>}
            </>
          }
        >
          {parts}
        </Fold>
      ) : (
        <p class="label">{label}</p>
      )}
    </section>
  );
});

const nameOf = ({ id, visit }: NodeState) => (visit > 0 ? `${id}, visit ${visit + 1}` : id);

const Label = ({ node }: { node: NodeState }) => (
  <>
    <Icon name={isWaiting(node) ? "pause" : ICONS[node.status]} />
    <span class="name">{node.id}</span>
    {node.visit > 0 && <span class="figure">visit {node.visit + 1}</span>}
    {node.again && <Badge word={node.again} />}
    {!node.again && node.endedAt !== null && node.endedAt - node.startedAt >= 0.0005 && (
      <span class="figure">{duration((node.endedAt - node.startedAt) * 1000)}</span>
    )}
  </>
);

/** Parts in order; consecutive tool calls, and custom data of one type, are one group. */
export function grouped(parts: readonly Part[]): (Part | ToolPart[] | CustomPart[])[] {
  const groups: (Part | ToolPart[] | CustomPart[])[] = [];
  for (const part of parts) {
    if (part.type === "step" || (part.type === "custom" && part.dataType === "native")) continue;
    // A message without a word shows nothing and must not part the calls around it.
    if (part.type === "text" && !/\S/.test(part.text) && !part.marks.length) continue;
    const last = groups.at(-1);
    const first = Array.isArray(last) ? last[0] : undefined;
    if (part.type === "tool") {
      if (first?.type === "tool") (last as ToolPart[]).push(part);
      else groups.push([part]);
    } else if (part.type === "custom" && part.dataType !== "data-progress") {
      const alike = first?.type === "custom" && (first.dataType === part.dataType || (STEPS.test(first.dataType) && STEPS.test(part.dataType)));
      if (alike) (last as CustomPart[]).push(part);
      else groups.push([part]);
    } else groups.push(part);
  }
  return groups;
}

const sum = (parts: readonly Part[]): number => parts.reduce((n, p) => n + p.rev, parts.length);

export function Parts({ feed, node, parts }: { feed: Feed; node: NodeState; parts: readonly Part[] }) {
  const groups = grouped(parts);
  return (
    <>
      {groups.map((group, i) => {
        const live = node.status === "running" && i === groups.length - 1;
        if (Array.isArray(group)) {
          const id = `${node.key}/${group[0]!.key}`;
          return group[0]!.type === "tool" ? (
            <Tools key={id} id={id} feed={feed} parts={group as ToolPart[]} rev={sum(group)} />
          ) : (
            <Custom key={id} id={id} feed={feed} parts={group as CustomPart[]} live={live} rev={sum(group)} />
          );
        }
        const id = `${node.key}/${group.key}`;
        const stranded = node.status === "failed" && i === groups.length - 1;
        switch (group.type) {
          case "text":
            return <Answer key={id} part={group} rev={group.rev} />;
          case "reasoning":
            return <Reasoning key={id} id={id} feed={feed} part={group} stranded={stranded} rev={group.rev} />;
          case "file":
            return <FileView key={id} feed={feed} part={group} rev={group.rev} />;
          case "custom":
            return <Custom key={id} id={id} feed={feed} parts={[group]} live={node.status === "running"} rev={group.rev} />;
          case "retry":
            return <Retry key={id} id={id} feed={feed} node={node} part={group} />;
          case "interrupt":
            return <Ask key={id} feed={feed} node={node} part={group} rev={group.rev + feed.answered} />;
          default:
            return null;
        }
      })}
    </>
  );
}

const Answer = pure(({ part, rev }: { part: TextPart; rev: number }) => (
  <div class={part.refusal ? "answer refusal" : "answer"}>
    {part.refusal && <p class="note">The model declined to answer.</p>}
    <Markdown text={part.text} done={part.done} marks={part.marks} rev={rev} />
  </div>
));
