import type { Feed } from "../core/feed";
import { count, words } from "../core/format";
import { answer, type NodeState, type RetryPart, type RunState } from "../core/state";
import { Icon } from "./icons";
import { Parts } from "./node";
import { CopyButton, Fold } from "./parts";

/** What a failure left: nothing already obtained is lost, and the reader should know. */
export function kept(run: RunState): string {
  const n = words(answer(run));
  const tools = run.nodes.flatMap((node) => node.parts).filter((p) => p.type === "tool" && p.status === "ok").length;
  const had = [n && count(n, "word"), tools && count(tools, "tool result")].filter(Boolean);
  return had.length ? `Kept: ${had.join(" and ")}.` : "";
}

export function report(run: RunState, error: string, node?: NodeState): string {
  const call = run.calls.findLast((c) => !node || c.nodeId === node.id);
  const lines = [
    `run: ${run.id}`,
    node && `node: ${node.id}${node.attempt ? ` (attempt ${node.attempt + 1})` : ""}`,
    call && `model: ${[call.provider, call.model].filter(Boolean).join("/")}`,
    `error: ${error}`,
    kept(run),
  ];
  return lines.filter(Boolean).join("\n");
}

export function NodeProblem({ run, node }: { run: RunState; node: NodeState }) {
  return <Trouble run={run} title={`Node ${node.id} failed`} text={node.error!} node={node} />;
}

const SENTENCES: Partial<Record<RunState["status"], string>> = {
  cancelled: "Stopped before the end.",
  budget: "The run reached its budget.",
  timeout: "The run took longer than it was allowed.",
  failed: "The run failed.",
};

/** Whether the run says itself why it ended: a limit was reached, and no node is to blame. */
export const ownWords = (run: RunState): boolean => run.status === "budget" || run.status === "timeout";

/** How a run ended when it did not end well, unless a node has already said it. */
export function Problem({ run }: { run: RunState }) {
  const sentence = SENTENCES[run.status];
  if (!sentence) return null;
  if (run.status === "failed" && run.nodes.some((n) => n.error !== null)) return null;
  if (run.status === "cancelled")
    return (
      <p class="note">
        <Icon name="stop" />
        {sentence} {kept(run)}
      </p>
    );
  return <Trouble run={run} title={sentence} text={run.error ?? ""} soft={run.status !== "failed"} />;
}

interface Props {
  run: RunState;
  title: string;
  text: string;
  node?: NodeState;
  soft?: boolean;
}

function Trouble({ run, title, text, node, soft }: Props) {
  return (
    <div class={soft ? "trouble soft" : "trouble"} role="alert">
      <p class="head">
        <Icon name="warn" />
        <strong>{title}</strong>
        <CopyButton text={() => report(run, text, node)} label="Copy report of this error">
          Copy report
        </CopyButton>
      </p>
      {text && <p class="words">{text}</p>}
      <p class="figure">{kept(run)}</p>
    </div>
  );
}

export function Retry({ id, feed, node, part }: { id: string; feed: Feed; node: NodeState; part: RetryPart }) {
  return (
    <Fold
      feed={feed}
      id={id}
      class="tool retry"
      open={false}
      summary={
        <>
          <Icon name="retry" />
          <span class="title">{part.answer ? "The answer began again" : "Tried again"}</span>
          <span class="args words">{part.error}</span>
        </>
      }
    >
      <div class="dropped">
        {part.dropped.length ? <Parts feed={feed} node={node} parts={part.dropped} /> : <p class="note">Nothing had arrived.</p>}
      </div>
    </Fold>
  );
}
