import { again, cost, count, dollars, duration, limit, tokens } from "../core/format";
import type { CallState, RunState } from "../core/state";

export function UsageButton({ run, open, toggle }: { run: RunState; open: boolean; toggle(): void }) {
  const used = tokens(run);
  const money = cost(run);
  const spared = again(run);
  if (used === null && money === null) return spared ? <span class="figure">{spared}</span> : null;
  const label = [used === null ? null : count(used, "token"), money, spared, limit(run)].filter(Boolean).join(" · ");
  return (
    <button type="button" class="figure usage" aria-expanded={open} title="Tokens and cost of each model call" onClick={toggle}>
      {label}
    </button>
  );
}

const number = (n: number | undefined) => (n === undefined ? "" : n.toLocaleString("en-US"));

function rate({ usage, durationMs, firstTokenMs }: CallState): string {
  const ms = (durationMs ?? 0) - (firstTokenMs ?? 0);
  return usage.completion_tokens && ms > 0 ? `${Math.round((usage.completion_tokens / ms) * 1000)} tokens/s` : "";
}

function price({ cost: usd, again: word, original }: CallState): string {
  if (!word) return usd === null ? "unpriced" : dollars(usd);
  return original === null ? `$0.00, ${word}` : `$0.00, ${word} (${dollars(original)})`;
}

const CALLS = 50;

export function UsageTable({ run }: { run: RunState; rev: number }) {
  const calls = run.calls.filter((c) => c.done);
  const cached = calls.some((c) => c.usage.cached_tokens);
  const reasoning = calls.some((c) => c.usage.reasoning_tokens);
  return (
    <div class="scroll usage" tabIndex={0} role="group" aria-label="Usage">
      <table>
        <thead>
          <tr>
            {["Model", "In", ...(cached ? ["Cached"] : []), "Out", ...(reasoning ? ["Reasoning"] : []), "Cost", "First token", "Time", "Speed"].map(
              (name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {calls.slice(-CALLS).map((call) => (
            <tr key={call.id}>
              <td>{[call.provider, call.model].filter(Boolean).join("/")}</td>
              <td class="number">{number(call.usage.prompt_tokens)}</td>
              {cached && <td class="number">{number(call.usage.cached_tokens)}</td>}
              <td class="number">{number(call.usage.completion_tokens)}</td>
              {reasoning && <td class="number">{number(call.usage.reasoning_tokens)}</td>}
              <td class="number">{price(call)}</td>
              <td class="number">{call.firstTokenMs === null ? "" : duration(call.firstTokenMs)}</td>
              <td class="number">{call.durationMs === null ? "" : duration(call.durationMs)}</td>
              <td class="number">{rate(call)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {calls.length > CALLS && <p class="note">The last {CALLS} of {calls.length} calls.</p>}
      {calls.some((c) => c.usageStatus === "estimated") && <p class="note">Some counts are estimates.</p>}
    </div>
  );
}
