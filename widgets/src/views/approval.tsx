// A question of the run to the reader: what is asked, its arguments to edit, and the answer.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Feed } from "../core/feed";
import { brief, dollars, duration, own, pretty } from "../core/format";
import type { InterruptPart, NodeState } from "../core/state";
import { useSeconds } from "./clock";
import { Icon, type IconName } from "./icons";
import { pure } from "./parts";
import { Value } from "./value";

interface Props {
  feed: Feed;
  node: NodeState;
  part: InterruptPart;
  rev: number;
}

const ENDINGS: Record<string, [IconName, string]> = {
  approved: ["check", "Approved"],
  edited: ["check", "Approved with changes"],
  rejected: ["stop", "Denied"],
  denied: ["stop", "Denied"],
  timeout: ["clock", "Nobody answered in time"],
};
const BY: Record<string, string> = { person: "", policy: "by the run's rule", timeout: "" };

/** What is asked, in a few words. */
function titleOf({ kind, tool }: InterruptPart, node: NodeState): string {
  if (kind === "input") return `${node.id} asks`;
  if (kind === "before") return `Run ${node.id}?`;
  if (kind === "after") return `Go on with what ${node.id} made?`;
  return tool ? `Call ${tool}?` : "Approve?";
}

export const Ask = pure(({ feed, node, part }: Props) => {
  if (!part.resolved) return <Open feed={feed} node={node} part={part} />;
  const { decision, by, reason, output } = part.resolved;
  const [icon, word] = own(ENDINGS, decision) ?? ["check", decision];
  const whom = own(BY, by) ?? (by && `by ${by}`);
  const input = part.kind === "input" && decision === "edited";
  const what = input ? `Answered: ${brief(output)}` : `${word}${part.tool ? `: ${part.tool}` : part.message ? `: ${brief(part.message)}` : ""}`;
  return (
    <p class={`note answered ${decision}`}>
      <Icon name={icon} />
      <span>
        {what}
        {whom && ` (${whom})`}
        {reason && `. ${reason}`}
      </span>
    </p>
  );
});

type Mode = "ask" | "edit" | "deny";

function Open({ feed, node, part }: { feed: Feed; node: NodeState; part: InterruptPart }) {
  const input = part.kind === "input";
  const [mode, setMode] = useState<Mode>(input ? "edit" : "ask");
  const card = useRef<HTMLElement>(null);
  useEffect(() => {
    // The focus moves here only from inside this output: nobody types an approval by accident.
    const root = card.current?.getRootNode() as ShadowRoot | Document | undefined;
    if (root instanceof ShadowRoot && root.activeElement) card.current?.querySelector<HTMLElement>("button, textarea")?.focus();
  }, []);
  // Back from editing or denying, the focus stands where it left.
  const from = useRef<Mode>("ask");
  useEffect(() => {
    if (mode === "ask" && from.current !== "ask") card.current?.querySelector<HTMLElement>(`button.${from.current}`)?.focus();
    from.current = mode;
  }, [mode]);
  const state = feed.answers.get(part.id);
  const sent = state !== undefined && state !== "refused";
  const here = !feed.detached && (feed.run.status === "running" || feed.run.status === "pending");
  const subject = part.tool || node.id;
  return (
    <section class="ask" ref={card} aria-label={titleOf(part, node)}>
      <p class="head">
        <Icon name="pause" />
        <strong>{titleOf(part, node)}</strong>
        <Deadline part={part} />
        {part.cost !== null && <span class="figure">{dollars(part.cost)} so far</span>}
      </p>
      {part.message && <p class="words">{part.message}</p>}
      {part.about !== undefined && mode !== "edit" && <Value value={part.about} />}
      {!here ? (
        <p class="note">No answer reaches this run any more; run.pending in the notebook says what is open.</p>
      ) : mode === "edit" ? (
        <Edit part={part} input={input} busy={sent} back={() => setMode("ask")} send={(value) => feed.answer(part.id, { decision: "edit", value })} />
      ) : mode === "deny" ? (
        <Deny busy={sent} back={() => setMode("ask")} send={(message) => feed.answer(part.id, { decision: "reject", message })} />
      ) : (
        <div class="buttons">
          <button type="button" class="main" disabled={sent} onClick={() => feed.answer(part.id, { decision: "approve" })}>
            Approve
          </button>
          {part.kind !== "after" && (
            <button
              type="button"
              class="plain"
              disabled={sent}
              title={`Do not ask about ${subject} again in this run`}
              onClick={() => feed.answer(part.id, { decision: "approve_run" })}
            >
              Approve for this run
            </button>
          )}
          {part.about !== undefined && (
            <button type="button" class="plain edit" disabled={sent} onClick={() => setMode("edit")}>
              Edit
            </button>
          )}
          <button type="button" class="plain deny" disabled={sent} onClick={() => setMode("deny")}>
            Deny
          </button>
        </div>
      )}
      <Sent feed={feed} part={part} sent={sent} />
    </section>
  );
}

/** What became of a click: on some kernels a message waits until the cell has ended. */
function Sent({ feed, part, sent }: { feed: Feed; part: InterruptPart; sent: boolean }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    setLate(false);
    if (!sent) return;
    const timer = setTimeout(() => setLate(true), 3000);
    return () => clearTimeout(timer);
  }, [sent]);
  const refusal = feed.refusals.get(part.id);
  if (!sent && refusal) return <p class="hint" role="alert">{refusal}</p>;
  if (!sent || !late) return null;
  return (
    <p class="hint" role="alert">
      The kernel is busy with the cell and has not taken the answer yet. Interrupt it, and answer with run.approve() or run.reject() in another cell.
    </p>
  );
}

function Deadline({ part }: { part: InterruptPart }) {
  const [left] = useState(() => (part.deadline === null ? 0 : part.deadline - Date.now() / 1000));
  const gone = useSeconds(part.deadline !== null);
  if (part.deadline === null) return null;
  const rest = Math.max(0, left - gone);
  return <span class="figure">{rest ? `${duration(Math.ceil(rest) * 1000).replace(".0 s", " s")} left` : "the time is over"}</span>;
}

interface EditProps {
  part: InterruptPart;
  input: boolean;
  busy: boolean;
  back(): void;
  send(value: unknown): void;
}

function Edit({ part, input, busy, back, send }: EditProps) {
  const words = input || typeof part.about === "string";
  const [text, setText] = useState(input ? "" : words ? (part.about as string) : pretty(part.about));
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (!input) area.current?.focus();
  }, []);
  const [value, wrong] = words ? [text, input && !text ? " " : ""] : parsed(text, part.tool !== "");
  const submit = () => !wrong && !busy && send(value);
  return (
    <>
      <textarea
        ref={area}
        class={words ? "" : "code"}
        rows={Math.min(16, Math.max(input ? 2 : 3, text.split("\n").length + 1))}
        value={text}
        disabled={busy}
        spellcheck={words}
        aria-label={input ? "Your answer" : "What to go on with"}
        aria-invalid={wrong.trim() !== ""}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            submit();
          } else if (event.key === "Escape" && !input) back();
        }}
      />
      {wrong.trim() && <p class="hint" role="alert">{wrong}</p>}
      <div class="buttons">
        <button type="button" class="main" disabled={busy || wrong !== ""} title="Ctrl+Enter" onClick={submit}>
          {input ? "Answer" : "Approve with changes"}
        </button>
        {!input && (
          <button type="button" class="plain" disabled={busy} onClick={back}>
            Back
          </button>
        )}
      </div>
    </>
  );
}

/** The JSON in a text, and what is wrong with it in a sentence. */
export function parsed(text: string, record: boolean): [value: unknown, wrong: string] {
  try {
    const value: unknown = JSON.parse(text);
    if (record && (value === null || typeof value !== "object" || Array.isArray(value)))
      return [value, "The arguments of a tool are a JSON object: {…}."];
    return [value, ""];
  } catch (error) {
    return [undefined, `This is not JSON yet: ${error instanceof Error ? error.message : String(error)}`];
  }
}

function Deny({ busy, back, send }: { busy: boolean; back(): void; send(message: string): void }) {
  const [text, setText] = useState("");
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => box.current?.focus(), []);
  return (
    <>
      <input
        ref={box}
        type="text"
        value={text}
        disabled={busy}
        placeholder="Why, in words that the model reads (may be empty)"
        aria-label="Why it is denied"
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          event.stopPropagation();
          if (event.key === "Enter") send(text);
          else if (event.key === "Escape") back();
        }}
      />
      <div class="buttons">
        <button type="button" class="main bad" disabled={busy} onClick={() => send(text)}>
          Deny
        </button>
        <button type="button" class="plain" disabled={busy} onClick={back}>
          Back
        </button>
      </div>
    </>
  );
}
